"""Executed instructions by kind, and the multiply-adds in them, from their assembly text."""

import re
from collections.abc import Mapping

from edgevit_runtimes.estimate.counts import Counts

KINDS = ("vector float", "vector integer", "vector other", "load", "store", "branch", "scalar")

FLOAT = (
    *("fmla", "fmls", "fmul", "fadd", "fsub", "fdiv", "fmax", "fmin", "fabs", "fneg", "frint"),
    *("fcvt", "scvtf", "ucvtf", "frecp", "frsqrt", "fsqrt", "fcm", "facg", "fmadd", "fmsub"),
)
INTEGER = (
    *("sdot", "udot", "usdot", "smmla", "ummla", "usmmla", "mla", "mls", "sml", "uml", "smul"),
    *("umul", "sqr", "sqd", "sqx", "uqx", "sqa", "uqa", "sqs", "uqs", "add", "sub", "saddw"),
    *("smax", "smin", "umax", "umin", "ssh", "ush", "srsh", "urs", "sqsh", "saddl", "sadal"),
)
# Multiply-adds: the mnemonic, the type of their products, and how many each lane adds up. Those of
# bytes and halfwords that are no dot products count as int8, of which a core does most.
MULTIPLY_ADDS: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(
        ("fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub", "fmlal", "fmlal2"), ("float", 1)
    ),
    **dict.fromkeys(("sdot", "udot", "usdot", "sudot"), ("int8", 4)),
    **dict.fromkeys(("smmla", "ummla", "usmmla"), ("int8", 8)),
    **dict.fromkeys(("mla", "mls", "smlal", "smlal2", "umlal", "umlal2"), ("int8", 1)),
}
MAC_TYPES = ("fp32", "fp16", "int8")
LANES = re.compile(r"v\d+\.(\d+)([bhsd])")

BRANCHES = ("b", "bl", "br", "blr", "ret", "cbz", "cbnz", "tbz", "tbnz", "svc")


def kind_of(text: str) -> str:
    """The kind of one instruction, such as "fmla\\tv0.4s, v1.4s, v2.4s"."""
    mnemonic, _, operands = text.partition("\t")
    if mnemonic.partition(".")[0] in BRANCHES:
        return "branch"
    if mnemonic.startswith(("ld", "prf")):
        return "load"
    if mnemonic.startswith("st"):
        return "store"
    if mnemonic.startswith(FLOAT):
        return "vector float"
    first = operands.partition(",")[0].strip().lstrip("{ ")
    if first.startswith(("v", "q", "d", "s", "h")) and first[1:2].isdigit():
        return "vector integer" if mnemonic.startswith(INTEGER) else "vector other"
    return "scalar"


def by_kind(counts: Counts, texts: Mapping[int, str]) -> dict[str, int]:
    """Executed instructions of each kind of `KINDS`, in their order; they add up to all."""
    kind_of_code = {code: kind_of(text) for code, text in texts.items()}
    totals = dict.fromkeys(KINDS, 0)
    for block in counts.blocks:
        for code in block.opcodes:
            totals[kind_of_code.get(code, "scalar")] += block.executions
    return totals


def macs_of(text: str) -> tuple[str, int]:
    """Type and number of the multiply-adds of one instruction; ("fp32", 0) for any other."""
    mnemonic, _, operands = text.partition("\t")
    kind, each = MULTIPLY_ADDS.get(mnemonic, ("", 0))
    if not each:
        return "fp32", 0
    lanes = LANES.match(operands)
    if kind == "int8":
        return kind, each * int(lanes[1]) if lanes else 0  # mla of scalars is spelled madd
    half = lanes[2] == "h" if lanes else operands.startswith("h")
    return "fp16" if half else "fp32", each * (int(lanes[1]) if lanes else 1)


def multiply_adds(counts: Counts, texts: Mapping[int, str]) -> dict[str, int]:
    """Executed multiply-adds of each type of `MAC_TYPES`; those in double count as fp32."""
    of_code = {code: macs_of(text) for code, text in texts.items()}
    totals = dict.fromkeys(MAC_TYPES, 0)
    for block in counts.blocks:
        for code in block.opcodes:
            kind, number = of_code.get(code, ("fp32", 0))
            totals[kind] += block.executions * number
    return totals
