"""Executed instructions by kind, from their assembly text."""

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
