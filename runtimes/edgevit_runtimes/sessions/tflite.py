""".tflite files through the classic tflite-runtime, in a worker process of its side environment."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgevit_runtimes.errors import DeviceFailed, RunFailed, reason
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions import litert, tflite_worker
from edgevit_runtimes.sessions.opened import WRITE_AGAIN, OpenFile, check_arrays, check_magic
from edgevit_runtimes.setup.tflite import (
    PACKAGES,
    SUCCESSOR,
    VERSION,
    Environment,
    broken,
    require_tflite,
)
from edgevit_runtimes.timing import ColdStart
from edgevit_runtimes.worker import ARRAY_BYTES, Expected, Worker

ENGINE = "tflite"
NAME = f"tflite-runtime {VERSION}"
START_SECS = 120.0  # Python and numpy from a cold disk
LOAD_SECS = 300.0
RUN_SECS = 600.0
RANK = 8
# Runs that are timed at a time: a process that was waiting starts with cold caches, which makes a
# short run longer (measured: 0.1 ms).
BATCH = 256
BATCH_NS = 20_000_000
# As numpy names them; text and complex numbers have no place in a picture's network.
DTYPES = frozenset(
    {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "bool"}
    | {"uint8", "uint16", "uint32", "uint64"}
)


def load_runtime() -> Environment:
    """Find the separate environment; raises `MissingRuntime` if it does not exist."""
    return require_tflite()


def open_(path: Path, threads: int) -> Session:
    """Load a file for `threads` threads, in a worker that lives until the session is closed.

    Ports are in the order in which `sessions.litert` has them. Raises `RunFailed` where the
    interpreter refuses the file, `DeviceFailed` where it ends its process or takes too long.
    """
    held = _load(path, threads)
    return OpenFile(
        ENGINE, path.name, held.inputs, held.outputs, held.call, held.worker.close, held.stopwatch
    )


def cold_start(path: Path, inputs: Sequence[Array], threads: int) -> ColdStart:
    """Import, load and run once in a fresh worker, by its own clock; raises as a session does."""
    held = _load(path, threads)
    try:
        check_arrays(inputs, held.inputs, path.name)
        first_ns, _ = held.run(inputs)
        return ColdStart(held.import_ns / 1e9, held.load_ns / 1e9, first_ns / 1e9)
    finally:
        held.worker.close()


@dataclass(frozen=True, slots=True)
class _Held:
    """A worker that has loaded a file."""

    worker: Worker
    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    into: tuple[int, ...]  # the tensors' indices in the file
    out_of: tuple[int, ...]
    import_ns: int
    load_ns: int

    def call(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        return self.run(arrays)[1]

    def stopwatch(self, arrays: tuple[Array, ...]) -> Callable[[], int]:
        # The inputs are sent once and the outputs stay there: no pipe is timed, nor in the way.
        waiting: list[int] = []
        runs = max(1, min(BATCH, BATCH_NS // max(1, self.run(arrays)[0])))

        def once() -> int:
            if not waiting:
                times, _ = self._ask({"op": "again", "runs": runs}, (), (), runs)
                waiting.extend(reversed(times))
            return waiting.pop()

        return once

    def run(self, arrays: Sequence[Array]) -> tuple[int, tuple[Array, ...]]:
        """Nanoseconds from numpy to numpy, there, and the outputs."""
        question = {"op": "run", "into": self.into, "out_of": self.out_of}
        expected = [(port.dtype, port.shape) for port in self.outputs]
        (spent,), outputs = self._ask(question, arrays, expected, 1)
        return spent, outputs

    def _ask(
        self,
        question: Mapping[str, object],
        arrays: Sequence[Array],
        expected: Expected,
        runs: int,
    ) -> tuple[list[int], tuple[Array, ...]]:
        file = self.path.name
        try:
            header, results = self.worker.ask(
                question, arrays, expected=expected, secs=RUN_SECS, about=file
            )
            times = [_count(ns) for ns in header["run_ns"]]
            if len(times) != runs:
                raise ValueError("a time for each run")
            return times, results
        except RunFailed as error:
            why = _told(error, self.path)
            raise RunFailed(f"{NAME} failed while running {file}: {why}.") from None
        except (KeyError, TypeError, ValueError):
            raise DeviceFailed(
                f"{NAME} did not say how long {file} took.", next=SUCCESSOR
            ) from None


def _load(path: Path, threads: int) -> _Held:
    check_magic(path, b"TFL3", "a LiteRT (TensorFlow Lite) file")
    worker, import_ns = _start()
    try:
        question = {"op": "load", "path": str(path.absolute()), "threads": threads}
        try:
            header, _ = worker.ask(question, secs=LOAD_SECS, about=path.name)
        except RunFailed as error:
            why = _told(error, path)
            raise RunFailed(f"{NAME} cannot open {path.name}: {why}.", next=WRITE_AGAIN) from None
        try:
            load_ns = _count(header["load_ns"])
            inputs, outputs = ([_detail(d) for d in header[k]] for k in ("inputs", "outputs"))
            signatures = [_signature(s, [*inputs, *outputs]) for s in header["signatures"]]
            taken, returned = litert.tensors(inputs, outputs, signatures, path.name)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DeviceFailed(
                f"{NAME} describes {path.name} in no way that can be read.", next=SUCCESSOR
            ) from None
        return _Held(
            worker,
            path,
            inputs=_ports(taken, path.name),
            outputs=_ports(returned, path.name),
            into=tuple(detail["index"] for _, detail in taken),
            out_of=tuple(detail["index"] for _, detail in returned),
            import_ns=import_ns,
            load_ns=load_ns,
        )
    except BaseException:
        worker.close(patience=0)
        raise


def _start() -> tuple[Worker, int]:
    """A worker that has imported its runtime, and the nanoseconds that took."""
    environment = load_runtime()
    # -I: neither the user's PYTHONPATH nor the working directory, which hold other versions.
    command = [str(environment.python), "-I", tflite_worker.__file__]
    try:
        worker = Worker.start(NAME, command, SUCCESSOR)
    except OSError as error:
        raise broken(error.strerror or str(error)) from error
    try:
        header, _ = worker.ask(None, secs=START_SECS, about="its start")
        if header["versions"] != dict(PACKAGES):
            raise ValueError
        return worker, _count(header["import_ns"])
    except DeviceFailed as error:
        raise broken(reason(error)) from None
    except (KeyError, ValueError):
        worker.close(patience=0)
        raise broken("it has other versions than were installed") from None


def _detail(tensor: Mapping[str, Any]) -> litert.Detail:
    """A tensor as LiteRT's interpreter describes it; raises `ValueError` for anything else."""
    shapes = {name: [_side(s) for s in tensor[name]] for name in ("shape", "shape_signature")}
    if not isinstance(tensor["name"], str) or max(map(len, shapes.values())) > RANK:
        raise ValueError("no tensor of a network")
    dtype = np.dtype(tensor["dtype"] if tensor["dtype"] in DTYPES else object)
    return {"name": tensor["name"], "index": _count(tensor["index"]), "dtype": dtype, **shapes}


def _signature(
    names: Mapping[str, Mapping[str, int]], details: Sequence[litert.Detail]
) -> litert.Signature:
    by_index = {detail["index"]: detail for detail in details}
    inputs, outputs = (
        {name: by_index[index] for name, index in names[kind].items()}
        for kind in ("inputs", "outputs")
    )
    return inputs, outputs


def _ports(named: litert.Named, file: str) -> tuple[Port, ...]:
    ports = tuple(litert.port(name, detail, file) for name, detail in named)
    size = sum(np.dtype(port.dtype).itemsize * math.prod(port.shape) for port in ports)
    if size > ARRAY_BYTES:
        raise RunFailed(
            f"{file} has {size} bytes of inputs or outputs; at most {ARRAY_BYTES} are allowed."
        )
    return ports


def _told(error: RunFailed, path: Path) -> str:
    """What the interpreter said, without the directory, which is of one machine."""
    return reason(ValueError(error.message.replace(str(path.absolute()), path.name)))


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no count")
    return value


def _side(value: object) -> int:
    if type(value) is not int or value < -1:  # -1: open
        raise ValueError("no side of a shape")
    return value
