"""The worker that holds tflite-runtime's interpreter; one file, started by path with `python -I`.

It needs numpy and tflite_runtime alone, and no newer Python than the boards have that
tflite-runtime was made for. Frames go in on standard input and out on standard output, one answer
a question: `EVW1`, the length of a JSON header (4 bytes, little-endian), the header, then the bytes
of the arrays that the header's `arrays` lists as `[dtype, shape]`, little-endian, C order.

| question | answer |
|---|---|
| none, at the start | `versions`, `import_ns` |
| `{"op": "load", "path", "threads"}` | `inputs`, `outputs`, `signatures`, `load_ns` |
| `{"op": "run", "into", "out_of"}` (indices of tensors), and arrays | `run_ns` and arrays |
| `{"op": "again", "runs"}`: so many times on the same arrays | `run_ns` |

`run_ns` is a list, of one time or of `runs`. A question that failed is answered by
`{"failed": SENTENCE}`. The end of standard input ends it.
"""

from __future__ import annotations

import gc
import json
import os
import struct
import sys
from time import perf_counter_ns
from typing import Any, BinaryIO

MAGIC = b"EVW1"
HEADER_BYTES = 1 << 20
ARRAY_BYTES = 2 << 30
COUNT = 256


class Worker:
    """One interpreter, and the inputs it was given last."""

    def __init__(self, numpy: Any, runtime: Any) -> None:
        self.numpy = numpy
        self.runtime = runtime
        self.interpreter: Any = None
        self.into: list[int] = []
        self.out_of: list[int] = []
        self.kept: list[Any] = []

    def answer(
        self, question: dict[str, Any], arrays: list[Any]
    ) -> tuple[dict[str, Any], list[Any]]:
        """Do what a header asks for."""
        if question["op"] == "load":
            return self.load(question["path"], question["threads"]), []
        if question["op"] == "run":
            self.into, self.out_of, self.kept = question["into"], question["out_of"], arrays
            spent, outputs = self.run()
            return {"run_ns": [spent]}, outputs
        if question["op"] == "again":
            return {"run_ns": [self.run()[0] for _ in range(question["runs"])]}, []
        raise ValueError(f"there is no op {question['op']!r}")

    def load(self, path: str, threads: int) -> dict[str, Any]:
        """Open a file, and describe its tensors and signatures."""
        begin = perf_counter_ns()
        interpreter = self.runtime.Interpreter(path, num_threads=threads)
        interpreter.allocate_tensors()
        spent = perf_counter_ns() - begin
        self.interpreter = interpreter
        signatures = []
        for key in list(interpreter.get_signature_list())[:COUNT]:
            runner = interpreter.get_signature_runner(key)
            signatures.append(
                {
                    "inputs": _indices(runner.get_input_details()),
                    "outputs": _indices(runner.get_output_details()),
                }
            )
        return {
            "inputs": [self.described(d) for d in interpreter.get_input_details()],
            "outputs": [self.described(d) for d in interpreter.get_output_details()],
            "signatures": signatures,
            "load_ns": spent,
        }

    def described(self, detail: dict[str, Any]) -> dict[str, Any]:
        """One tensor as JSON values."""
        return {
            "name": str(detail["name"]),
            "index": int(detail["index"]),
            "shape": [int(size) for size in detail["shape"]],
            "shape_signature": [int(size) for size in detail["shape_signature"]],
            "dtype": self.numpy.dtype(detail["dtype"]).name,
        }

    def run(self) -> tuple[int, list[Any]]:
        """Nanoseconds from numpy inputs to numpy outputs, and the outputs."""
        begin = perf_counter_ns()
        for index, array in zip(self.into, self.kept):  # noqa: B905 - strict= came with 3.10
            self.interpreter.set_tensor(index, array)
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(index) for index in self.out_of]
        return perf_counter_ns() - begin, outputs


def _indices(details: dict[str, Any]) -> dict[str, int]:
    return {str(name): int(detail["index"]) for name, detail in details.items()}


def read(stream: BinaryIO, numpy: Any) -> tuple[dict[str, Any], list[Any]] | None:
    """The next question, None at the end of the stream; raises ValueError for anything else."""
    head = stream.read(8)
    if not head:
        return None
    magic, length = struct.unpack("<4sI", head)
    if magic != MAGIC or length > HEADER_BYTES:
        raise ValueError("a frame starts otherwise")
    header = json.loads(stream.read(length).decode())
    arrays = []
    left = ARRAY_BYTES
    for dtype, shape in header.get("arrays", [])[:COUNT]:
        kind = numpy.dtype(dtype)
        size = kind.itemsize
        for side in shape:
            size *= side
        left -= size
        if size < 0 or left < 0:
            raise ValueError("the arrays of a frame are too large")
        data = stream.read(size)
        arrays.append(numpy.frombuffer(data, kind).reshape(shape))
    return header, arrays


def write(stream: BinaryIO, header: dict[str, Any], arrays: list[Any], numpy: Any) -> None:
    """Send one answer."""
    ready = [numpy.require(array, requirements="C") for array in arrays]
    listed = [[array.dtype.name, list(array.shape)] for array in ready]
    text = json.dumps({**header, "arrays": listed}).encode()
    stream.write(struct.pack("<4sI", MAGIC, len(text)) + text)
    for array in ready:
        stream.write(array.tobytes())
    stream.flush()


def main() -> int:
    """Answer questions until standard input ends."""
    # The answers have standard output for themselves: what a library prints goes to stderr.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    begin = perf_counter_ns()
    import numpy
    import tflite_runtime
    from tflite_runtime import interpreter

    spent = perf_counter_ns() - begin
    gc.disable()  # nothing here makes cycles, and a collection would be timed
    worker = Worker(numpy, interpreter)
    versions = {"tflite-runtime": tflite_runtime.__version__, "numpy": numpy.__version__}
    write(answers, {"versions": versions, "import_ns": spent}, [], numpy)
    while True:
        question = read(sys.stdin.buffer, numpy)
        if question is None:
            return 0
        try:
            header, arrays = worker.answer(*question)
        except Exception as error:  # whatever the interpreter raises is the caller's to tell
            header, arrays = {"failed": str(error)[:4000] or type(error).__name__}, []
        write(answers, header, arrays, numpy)


if __name__ == "__main__":
    sys.exit(main())
