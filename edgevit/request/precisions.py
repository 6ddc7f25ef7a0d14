"""Which precisions are tried for a requested one, and in what order."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit_export.formats import FORMATS, why_absent
from edgevit_export.scheme import PRECISIONS

INT8 = "int8"
# int8 is whatever of these passes its gate first: the fastest first, the safest last.
CANDIDATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {INT8: ("w8a8", "mixed", "w8dyn", "w8"), **{name: (name,) for name in PRECISIONS}}
)
# Formats whose int8 is not tried in turn. Where no gate can be held, only weights are integer.
CHOSEN: Mapping[str, tuple[str, ...]] = MappingProxyType({"coreml": ("w8",)})
# Wanted of every input where no labels tell of accuracy, as of never trained networks (dB).
LEAST_SQNR: Mapping[str, float] = MappingProxyType({"w8a8": 24.0, "mixed": 24.0, "w8dyn": 28.0})

# Asked beyond that of a file with others to try: verification sees five inputs, and of sixteen the
# worst lies lower (24 of a seeded mvitv2-s-video: 24.2 to 26.7 dB, 25.4 in the middle).
SPREAD = 1.0


# The same of label maps, which have no SQNR: w8a8 masks of topformer-t, 28 dB in their logits,
# agree with fp32's on 94 % of the pixels of 1/f inputs; at 24 dB the noise is half as large again.
LEAST_AGREEMENT = 0.9


def near_enough(precision: str, sqnr: float | None, agreement: float | None = None) -> bool:
    """Whether a file is close enough to fp32 if there are no labels to measure accuracy.

    For label maps `sqnr` is None and `agreement` decides. A file without measurements is not close.
    """
    if precision not in LEAST_SQNR:
        return True
    if sqnr is not None:
        return sqnr >= LEAST_SQNR[precision] + SPREAD
    return agreement is not None and agreement >= LEAST_AGREEMENT


def candidates(precision: str, format: str) -> tuple[str, ...]:  # noqa: A002 - a file format
    """The precisions of a format to try for a requested one, in order; () if it has none."""
    held = FORMATS[format].precisions
    names = CANDIDATES[precision]
    if precision == INT8:
        names = CHOSEN.get(format, names)
    return tuple(name for name in names if name in held)


def why_not(precision: str, format: str) -> str:  # noqa: A002 - the same
    """Why a format does not have a precision, as the end of a sentence."""
    return why_absent(FORMATS[format], CANDIDATES[precision][0])
