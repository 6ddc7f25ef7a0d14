"""An opened exported file: the same few names for every runtime."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


def sha256_of(arrays: Sequence[Array]) -> str:
    """Of the arrays' bytes, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output as the runtime reports it: name, fixed shape, numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Session(Protocol):
    """A loaded file.

    `run` takes arrays in the order of `inputs` and returns them in that of `outputs`.

    Arrays are exactly what the file holds: this layer never transposes, casts or quantizes.
    """

    engine: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """Run once; raises `RunFailed` on a wrong shape or dtype, or where the runtime fails."""
        ...

    def stopwatch(self, *arrays: Array) -> Callable[[], int]:
        """A call that runs once on these inputs, and returns the nanoseconds from numpy inputs to
        numpy outputs; raises as `run` does.
        """
        ...

    def close(self) -> None:
        """Free the runtime's memory."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
