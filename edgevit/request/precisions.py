"""What a precision word asks for: which recipes are tried, and in what order."""

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


def near_enough(precision: str, sqnr: float) -> bool:
    """Whether a file comes as near to fp32 as is asked where no labels tell of accuracy."""
    return precision not in LEAST_SQNR or sqnr >= LEAST_SQNR[precision] + SPREAD


def candidates(precision: str, format: str) -> tuple[str, ...]:  # noqa: A002 - the design's word
    """What of a precision a format has, in the order to try it; () where it has none."""
    held = FORMATS[format].precisions
    names = CANDIDATES[precision]
    if precision == INT8:
        names = CHOSEN.get(format, names)
    return tuple(name for name in names if name in held)


def why_not(precision: str, format: str) -> str:  # noqa: A002 - the same
    """Why a format has nothing of a precision, the end of a sentence."""
    return why_absent(FORMATS[format], CANDIDATES[precision][0])
