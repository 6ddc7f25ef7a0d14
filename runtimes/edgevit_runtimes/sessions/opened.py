"""What every session's `open_` returns, and the checks that all runtimes share."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType
from typing import Self

import numpy as np

from edgevit_runtimes.errors import RunFailed, RuntimesError, reason
from edgevit_runtimes.quiet import quiet
from edgevit_runtimes.session import Array, Port

MAX_BYTES = 2 << 30  # what flatbuffers and one protobuf can hold
WRITE_AGAIN = "edgevit export MODEL -o DIR"

Call = Callable[[tuple[Array, ...]], Sequence[Array]]
Watch = Callable[[tuple[Array, ...]], Callable[[], int]]


@dataclass(slots=True)
class OpenFile:
    """A `Session` around one function of a runtime."""

    engine: str
    file: str  # the name to use in messages
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    call: Call | None  # None once closed
    release: Callable[[], None] | None = None  # for a runtime that dropping `call` does not free
    watch: Watch | None = None  # for a runtime that lies behind a pipe, which must not be timed

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """Run once, copying inputs in and outputs out; raises `RunFailed`."""
        if self.call is None:
            raise RunFailed(f"{self.file} was closed before this run.")
        ready = self._ready(arrays)
        try:
            return tuple(self.call(ready))
        except RuntimesError:
            raise
        except Exception as error:
            raise RunFailed(
                f"{self.engine} failed while running {self.file}: {reason(error)}."
            ) from error

    def stopwatch(self, *arrays: Array) -> Callable[[], int]:
        """A call that runs once on these inputs, and returns the nanoseconds from numpy inputs to
        numpy outputs; raises as `run` does.
        """
        if self.watch is not None and self.call is not None:
            return self.watch(self._ready(arrays))

        def once() -> int:
            before = perf_counter_ns()
            self.run(*arrays)
            return perf_counter_ns() - before

        return once

    def close(self) -> None:
        """Free the runtime's memory; later runs are refused."""
        self.call = None
        if self.release is not None:
            self.release()
            self.release = None

    def _ready(self, arrays: Sequence[Array]) -> tuple[Array, ...]:
        check_arrays(arrays, self.inputs, self.file)
        # Runtimes read raw memory: strided views are copied, 0-d arrays stay 0-d.
        return tuple(np.require(array, requirements="C") for array in arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@contextmanager
def opening(path: Path, engine: str) -> Iterator[None]:
    """Load a file quietly; whatever the runtime raises becomes one `RunFailed`."""
    # ExecuTorch logs through Python's sys.stderr, which is not descriptor 2 in a notebook.
    with quiet(), redirect_stderr(io.StringIO()):
        try:
            yield
        except RuntimesError:
            raise
        except Exception as error:
            raise RunFailed(
                f"{engine} cannot open {path.name}: {reason(error)}.", next=WRITE_AGAIN
            ) from error


def check_file(path: Path) -> None:
    """Raise `RunFailed` for a path that is missing, empty, too large, or holds symbolic links."""
    try:
        if path.is_dir():
            members = list(path.rglob("*"))
            if any(member.is_symlink() for member in members):
                raise RunFailed(f"{path.name} holds a symbolic link, which is refused.")
            size = sum(member.stat().st_size for member in members if member.is_file())
        else:
            size = path.stat().st_size
    except FileNotFoundError:
        raise RunFailed(f"There is no file {path}.", next=WRITE_AGAIN) from None
    except OSError as error:
        raise RunFailed(f"{path} cannot be read: {error.strerror or error}.") from error
    if size == 0:
        raise RunFailed(f"{path.name} is empty.", next=WRITE_AGAIN)
    if size > MAX_BYTES:
        raise RunFailed(f"{path.name} has {size} bytes; no runtime opens more than {MAX_BYTES}.")


def check_magic(path: Path, magic: bytes, what: str) -> None:
    """Raise `RunFailed` unless bytes 4 to 8 start with a flatbuffer file identifier, e.g. `TFL3`.

    ExecuTorch 1.5 ends the whole process on a wrong identifier: it logs the raw bytes as text.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head[4:].startswith(magic):
        raise RunFailed(f"{path.name} is not {what}.", next=WRITE_AGAIN)


def check_arrays(arrays: Sequence[Array], ports: Sequence[Port], file: str) -> None:
    """Raise `RunFailed` unless count, shapes and dtypes are exactly those of the ports."""
    if len(arrays) != len(ports):
        raise RunFailed(f"{file} takes {len(ports)} inputs, and {len(arrays)} were given.")
    for array, port in zip(arrays, ports, strict=True):
        if not isinstance(array, np.ndarray):
            raise RunFailed(f"Input {port.name!r} of {file} must be a numpy array.")
        if array.shape != port.shape or array.dtype != np.dtype(port.dtype):
            dtype = array.dtype.name if array.dtype.isnative else array.dtype.str
            raise RunFailed(
                f"Input {port.name!r} of {file} is {port.dtype} {list(port.shape)}, "
                f"and {dtype} {list(array.shape)} was given."
            )


def fixed_port(name: str, shape: Sequence[object], dtype: str | None, file: str) -> Port:
    """A port whose sizes are all known; raises `RunFailed` for open sizes and types numpy lacks."""
    if dtype is None:
        raise RunFailed(f"{name!r} of {file} has an element type that numpy cannot hold.")
    sizes: list[int] = []
    for size in shape:
        if not isinstance(size, int | np.integer) or size < 0:
            raise RunFailed(
                f"{name!r} of {file} has a dynamic size {list(shape)}; only fixed sizes work.",
                next="edgevit export MODEL --input-size H W",
            )
        sizes.append(int(size))
    return Port(name=name, shape=tuple(sizes), dtype=dtype)
