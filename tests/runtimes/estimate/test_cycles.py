"""The estimator on loops whose cycles are known from Arm's software optimization guides."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, RunFailed
from edgevit_runtimes.estimate import assembly
from edgevit_runtimes.estimate.assembly import disassemble, priced
from edgevit_runtimes.estimate.counts import Block, Counts
from edgevit_runtimes.estimate.cycles import estimate_cycles
from tests.support.native import need

A77 = CORES["cortex-a77"]
LOOP_END = (0xF1000421, 0x54FFFFC1)  # subs x1, x1, #1; b.ne


def encoded(text: str) -> tuple[int, ...]:
    """Opcodes of assembly text, by LLVM's assembler."""
    need("llvm-mc-19")
    done = subprocess.run(
        ["llvm-mc-19", "-triple=aarch64", "-mattr=+all", "--show-encoding"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    codes = [line.partition("encoding: [")[2] for line in done.stdout.splitlines()]
    return tuple(
        int.from_bytes(bytes(int(byte, 16) for byte in code.rstrip("]").split(",")), "little")
        for code in codes
        if code
    )


def cycles(text: str, core: Core = A77) -> float:
    """Estimated cycles of one turn of a loop around these instructions."""
    block = Block(0x1000, 1000, (*encoded(text), *LOOP_END), None)
    return estimate_cycles(Counts((block,), 1), core).total / 1000


FMLA = "\n".join(f"fmla v{i}.4s, v30.4s, v31.4s" for i in range(8))
SDOT = "\n".join(f"sdot v{i}.4s, v30.16b, v31.16b" for i in range(8))
LOADS = "\n".join(f"ldr q{i}, [x2, #{16 * i}]" for i in range(8))
ADDS = "\n".join(f"add x{i}, x{i}, #1" for i in range(2, 10))


@pytest.mark.parametrize(
    ("name", "text", "known"),
    [
        ("two vector pipes", FMLA, 4),
        ("two dot-product pipes", SDOT, 4),
        ("two load pipes", LOADS, 4),
        ("a chain of additions", "\n".join(["fadd v0.4s, v0.4s, v1.4s"] * 8), 16),
        ("a chain of integer multiplications", "\n".join(["mul w2, w2, w3"] * 4), 8),
        ("integer additions beside the loop's own", ADDS, 3.3),
    ],
)
def test_loops_of_known_cost(name: str, text: str, known: float) -> None:
    assert cycles(text) == pytest.approx(known, rel=0.15), name


def test_a_wider_core_takes_fewer_cycles() -> None:
    many = "\n".join(f"fmla v{i}.4s, v30.4s, v31.4s" for i in range(16))
    assert cycles(many, CORES["cortex-x1"]) == pytest.approx(cycles(many) / 2, rel=0.15)


def test_a_store_that_moves_its_base_does_not_wait_for_the_data() -> None:
    """The model says so of the instruction as it stands; hardware forwards the base at once."""
    chain = "fmul v0.4s, v0.4s, v1.4s\nstr q0, [x2], #16\nldr q3, [x2]"
    assert cycles(chain) == pytest.approx(3, abs=1.2)
    assert priced("str\tq0, [x2], #16") == ("str\tq0, [x2]", "add x2, x2, #16")
    assert priced("stp\tx29, x30, [sp, #-32]!") == (
        "add sp, sp, #-32",
        "stp\tx29, x30, [sp]",
    )
    assert priced("st1\t{ v0.4s }, [x0], x3") == ("st1\t{ v0.4s }, [x0]", "add x0, x0, x3")
    assert priced("ldr\tq0, [x2], #16") == ("ldr\tq0, [x2], #16",)
    assert priced("str\tq0, [x2, #16]") == ("str\tq0, [x2, #16]",)


def test_a_call_costs_what_a_jump_costs() -> None:
    """What it calls is counted as blocks of its own."""
    assert cycles("blr x5") < 3
    assert priced("bl\t#1024") == ("b\t#1024",)
    assert priced("blr\tx5") == ("br\tx5",)


def test_what_has_no_price_is_left_out() -> None:
    assert cycles("ldaddal w0, w0, [x2]\n" + FMLA) == pytest.approx(cycles(FMLA))


def test_the_rest_costs_what_the_most_executed_blocks_cost() -> None:
    fmla = (*encoded(FMLA), *LOOP_END)
    often = Block(0x1000, 99_700, fmla, None)
    rare = Block(0x2000, 300, fmla, None)
    alone = estimate_cycles(Counts((often,), 1), A77)
    both = estimate_cycles(Counts((often, rare), 1), A77)
    assert len(both.blocks) == 1
    assert both.total == pytest.approx(alone.total * 100_000 / 99_700)


def test_an_opcode_that_llvm_does_not_know_is_left_out() -> None:
    need("llvm-mc-19")
    (add,) = encoded("add x0, x0, #1")
    assert disassemble([0xFFFFFFFF, add, 0xFFFFFFFE, add]) == {add: "add\tx0, x0, #1"}


def test_without_llvm_the_install_line_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingRuntime, match="llvm-mc-19, which estimates need") as caught:
        disassemble([1])
    assert caught.value.next == "apt-get install llvm-19"


def test_tools_that_fail_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("llvm-mc-19", "llvm-mca-19"):
        tool = tmp_path / name
        tool.write_text("#!/bin/sh\necho '{}'\necho broken >&2\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    block = Block(0x1000, 10, (1, 2), None)
    with pytest.raises(DeviceFailed, match="read 1 of 2 instructions"):
        estimate_cycles(Counts((block,), 1), A77)
    monkeypatch.setattr(assembly, "SECONDS", 0.05)
    (tmp_path / "llvm-mc-19").write_text("#!/bin/sh\nsleep 5\n")
    with pytest.raises(DeviceFailed, match="did not finish"):
        disassemble([1])
    one = Block(0x1000, 10, (1,), None)
    monkeypatch.setattr(assembly, "SECONDS", 20)
    (tmp_path / "llvm-mc-19").write_text(f"#!/bin/sh\necho {json.dumps('nop')}\n")
    with pytest.raises(RunFailed, match=r"could not price the code for cortex-a77: broken"):
        estimate_cycles(Counts((one,), 1), A77)
