import pytest

from edgevit_runtimes.estimate.assembly import disassemble
from edgevit_runtimes.estimate.counts import Block, Counts
from edgevit_runtimes.estimate.kinds import KINDS, by_kind, kind_of, macs_of, multiply_adds
from tests.support.native import need


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("fmla\tv0.4s, v1.4s, v2.4s", "vector float"),
        ("fmax\tv0.8h, v1.8h, v2.8h", "vector float"),
        ("sdot\tv0.4s, v1.16b, v2.4b[1]", "vector integer"),
        ("sqrdmulh\tv0.4s, v1.4s, v2.4s", "vector integer"),
        ("add\tv0.4s, v1.4s, v2.4s", "vector integer"),
        ("zip1\tv0.4s, v1.4s, v2.4s", "vector other"),
        ("add\tx0, x0, #16", "scalar"),
        ("subs\tx1, x1, #1", "scalar"),
        ("ldp\tq0, q1, [x3], #32", "load"),
        ("ld1\t{ v0.4s }, [x0]", "load"),
        ("prfm\tpldl1keep, [x3, #64]", "load"),
        ("st1\t{ v0.4s }, [x0], #16", "store"),
        ("str\tq0, [x2]", "store"),
        ("b.ne\t#-36", "branch"),
        ("cbz\tx0, #8", "branch"),
        ("ret", "branch"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_kinds_add_up_to_all_that_was_executed() -> None:
    need("llvm-mc-19")
    # fmla v0.4s, v1.4s, v2.4s; subs x1, x1, #1; b.ne; and one that is no instruction
    block = Block(0x1000, 5, (0x4E22CC20, 0xF1000421, 0x54FFFFC1, 0xFFFFFFFF), None)
    counts = Counts((block, Block(0x2000, 2, (0x4E22CC20,), None)), 1)
    texts = disassemble(code for one in counts.blocks for code in one.opcodes)
    mix = by_kind(counts, texts)
    assert list(mix) == list(KINDS)
    assert sum(mix.values()) == counts.instructions
    assert {kind: n for kind, n in mix.items() if n} == {
        "vector float": 7,
        "branch": 5,
        "scalar": 10,
    }


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("fmla\tv0.4s, v1.4s, v2.s[1]", ("fp32", 4)),
        ("fmla\tv0.8h, v1.8h, v2.8h", ("fp16", 8)),
        ("fmls\tv0.2d, v1.2d, v2.2d", ("fp32", 2)),
        ("fmadd\ts0, s1, s2, s3", ("fp32", 1)),
        ("fmadd\th0, h1, h2, h3", ("fp16", 1)),
        ("sdot\tv0.4s, v1.16b, v2.4b[1]", ("int8", 16)),
        ("smmla\tv0.4s, v1.16b, v2.16b", ("int8", 32)),
        ("smlal2\tv0.4s, v1.8h, v2.8h", ("int8", 4)),
        ("mla\tv0.8h, v1.8h, v2.8h", ("int8", 8)),
        ("madd\tx0, x1, x2, x3", ("fp32", 0)),
        ("fmul\tv0.4s, v1.4s, v2.4s", ("fp32", 0)),
    ],
)
def test_multiply_adds_of_an_instruction(text: str, macs: tuple[str, int]) -> None:
    assert macs_of(text) == macs


def test_multiply_adds_are_counted_by_type() -> None:
    need("llvm-mc-19")
    # fmla v0.4s; fmla v0.8h, v1.8h, v2.8h; sdot v0.4s, v1.16b, v2.16b
    block = Block(0x1000, 5, (0x4E22CC20, 0x4E420C20, 0x4E829420), None)
    counts = Counts((block,), 1)
    assert multiply_adds(counts, disassemble(block.opcodes)) == {
        "fp32": 20,
        "fp16": 40,
        "int8": 80,
    }
