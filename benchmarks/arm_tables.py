"""What the pages of proof.py and arm_models.py have in common: cells in words."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.arm_cells import Cell
from edgevit_runtimes.cores import Core

Found = Mapping[str, Any]
RUNTIMES = {"litert": "LiteRT", "executorch": "ExecuTorch", "onnx": "ONNX Runtime"}
REAL_TIME_MS = 1000 / 30


def counted(found: Found) -> str:
    """Million instructions of a cell; "-" where there is no file."""
    return "-" if found["reason"] else f"{found['row']['instructions'][0] / 1e6:.1f}"


def span(found: Found, *more: Sequence[float]) -> str:
    """The estimated interval of a cell in ms, with what is added to both its ends."""
    if found["reason"]:
        return "-"
    low, high = interval(found, *more)
    return f"{low:.1f} to {high:.1f}"


def interval(found: Found, *more: Sequence[float]) -> tuple[float, float]:
    """From and to in ms, the sum of all parts."""
    parts = [found["row"]["estimate"]["interval_ms"], *more]
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def speed(straight: Found, ours: Found, *more: Sequence[float]) -> str:
    """How many times faster ours is, by the lower ends; "-" where either is missing."""
    if straight["reason"] or ours["reason"]:
        return "-"
    return f"{interval(straight)[0] / interval(ours, *more)[0]:.2f}"


def near(found: Found) -> str:
    """How near the outputs on ARM are to the fp32 network's in torch."""
    if found["reason"]:
        return "-"
    told = found["nearness"]
    words = [f"{told['sqnr']:.1f} dB"] if "sqnr" in told else []
    if "difference" in told and "sqnr" not in told:
        words.append(f"{told['difference']:.0e}")
    if "equal" in told:
        words.append(f"{told['equal']:.2%} of pixels")
    return ", ".join(words)


def bound_ms(multiply_adds: int, precision: str, core: Core) -> float:
    """What these multiply-adds take at the core's peak in a precision."""
    peak = {"fp32": core.peak_fp32, "fp16": core.peak_fp16, "w8a8": core.peak_int8}[precision]
    return multiply_adds / peak / core.clock_ghz / 1e6


def absent(cells: Iterable[Cell], found: Mapping[str, Found]) -> str:
    """A line for every cell that has no file, those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if reason := found[cell.key]["reason"]:
            reasons.setdefault(reason, []).append(cell.key)
    lines = [f"- {', '.join(keys)}: {reason}" for reason, keys in reasons.items()]
    wrapped = [
        textwrap.fill(line, 110, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    ]
    return "\n".join(wrapped) or "None is missing."
