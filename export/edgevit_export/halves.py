"""Files whose floats are halves on ARM cores that compute them, and not elsewhere: what one machine
executes of such a file does not tell of another.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FLOATS = "floats"  # the fact of such a file


@dataclass(frozen=True, slots=True)
class Halves:
    """Of one format: the precisions with such files, and in what they are computed elsewhere."""

    precisions: tuple[str, ...]
    elsewhere: str

    @property
    def fact(self) -> dict[str, str]:
        """What such a file says of itself."""
        told = f"float16 on ARM cores that compute it (ARMv8.2-FP16), else {self.elsewhere}"
        return {FLOATS: told}


HALVES: Mapping[str, Halves] = MappingProxyType(
    {
        "executorch": Halves(("fp16",), "float16, summed in float32"),
        "litert": Halves(("fp16", "w8a8", "mixed"), "float32"),
    }
)
