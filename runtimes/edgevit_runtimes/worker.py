"""A process that answers questions in frames, held at arm's length: whatever it does, the caller
gets an answer or one sentence, in time.
"""

import json
import math
import os
import selectors
import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

import numpy as np

from edgevit_runtimes.errors import DeviceFailed, RunFailed, reason
from edgevit_runtimes.session import Array

MAGIC = b"EVW1"  # of the frames that sessions/tflite_worker.py describes
HEAD = struct.Struct("<4sI")
HEADER_BYTES = 1 << 20
ARRAY_BYTES = 2 << 30
CHUNK = 1 << 20
TAIL = 4096  # bytes of standard error that are kept, to quote the last line of
LEAVING_SECS = 5.0

Expected = Sequence[tuple[str, tuple[int, ...]]]  # dtype name and shape of each array


@dataclass(slots=True)
class Worker:
    """A started process, the name to call it by in messages, and what to do where it fails.

    After a failure of the process itself it is stopped, and every later question is refused.
    """

    name: str
    next: str
    process: subprocess.Popen[bytes]
    said: bytes = b""  # the end of what it wrote to standard error

    @classmethod
    def start(cls, name: str, command: Sequence[str], next: str) -> Self:  # noqa: A002 - as the errors have it
        """Start a process whose standard streams are pipes; raises `OSError`."""
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the caller's, who then closes
        )
        for stream in (process.stdin, process.stdout, process.stderr):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        return cls(name, next, process)

    def ask(
        self,
        question: Mapping[str, object] | None,
        arrays: Sequence[Array] = (),
        *,
        expected: Expected = (),
        secs: float,
        about: str,
    ) -> tuple[dict[str, Any], tuple[Array, ...]]:
        """Send a question, or none, and wait for the answer: its header, and its arrays.

        `expected` is what the answer's arrays are: nothing else is taken, nor memory for it.
        `about` names the file in messages. Raises `RunFailed` for an answer that says it failed,
        and for a question that is too large; `DeviceFailed` where the process ended, answered
        something else, or took longer than `secs`.
        """
        if self.process.stdin is None:
            raise self._failed(f"was stopped before it was asked for {about}")
        frame = _frame(question, arrays)
        answer = _Answer(expected)
        try:
            self._exchange(frame, answer, secs, about)
        except BaseException:
            self.close(patience=0)  # its pipes hold half a frame
            raise
        if "failed" in answer.header:
            raise RunFailed(str(answer.header["failed"]))
        return answer.header, answer.arrays()

    def close(self, patience: float = LEAVING_SECS) -> None:
        """End the process: at the end of its standard input, or after `patience` seconds."""
        process = self.process
        if process.stdin is not None:
            process.stdin.close()
            process.stdin = None
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def _exchange(
        self, frame: list[memoryview], answer: "_Answer", secs: float, about: str
    ) -> None:
        """Write and read as the pipes allow, until the answer is whole."""
        stdin, stdout, stderr = self.process.stdin, self.process.stdout, self.process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        end = monotonic() + secs
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            ready.register(stderr, selectors.EVENT_READ)
            if frame:
                ready.register(stdin, selectors.EVENT_WRITE)
            while not answer.whole:
                left = end - monotonic()
                if left <= 0:
                    raise self._failed(f"took longer than {secs:g} s on {about}")
                for key, _ in ready.select(left):
                    if key.fileobj is stdin:
                        if not _send(stdin.fileno(), frame):
                            ready.unregister(stdin)
                    elif key.fileobj is stderr:
                        if not self._hear(stderr.fileno()):
                            ready.unregister(stderr)
                    elif part := os.read(stdout.fileno(), CHUNK):
                        try:
                            answer.take(part)
                        except ValueError:
                            raise self._garbled(about) from None
                    else:
                        raise self._ended(about)
        if frame:  # it answered before it had heard the question
            raise self._garbled(about)

    def _hear(self, descriptor: int) -> bool:
        part = os.read(descriptor, CHUNK)
        self.said = (self.said + part)[-TAIL:]
        return bool(part)

    def _ended(self, about: str) -> DeviceFailed:
        """The process closed its end: how it ended, and the last line it wrote."""
        try:
            code = self.process.wait(LEAVING_SECS)
        except subprocess.TimeoutExpired:
            return self._garbled(about)
        assert self.process.stderr is not None
        with suppress(BlockingIOError):  # a child of its own holds the pipe
            while self._hear(self.process.stderr.fileno()):
                pass
        lines = self.said.decode(errors="replace").strip().splitlines()
        last = f": {reason(ValueError(lines[-1]))}" if lines else ""
        return self._failed(f"ended ({ending(code)}{last}) on {about}")

    def _garbled(self, about: str) -> DeviceFailed:
        return self._failed(f"gave no answer that can be read on {about}")

    def _failed(self, what: str) -> DeviceFailed:
        return DeviceFailed(f"{self.name} {what}.", next=self.next)


@dataclass(slots=True)
class _Answer:
    """A frame while it comes in; nothing but a frame with the expected arrays is taken."""

    expected: Expected
    got: bytearray = field(default_factory=bytearray)
    header: dict[str, Any] = field(default_factory=dict)
    body: int | None = None  # where the arrays begin, once the header is known
    end: int = HEAD.size  # bytes that the frame has at least

    @property
    def whole(self) -> bool:
        return self.body is not None and len(self.got) == self.end

    def take(self, part: bytes) -> None:
        """Add bytes; raises `ValueError` where they are no such frame."""
        self.got += part
        if self.body is None and len(self.got) >= HEAD.size:
            magic, length = HEAD.unpack_from(self.got)
            if magic != MAGIC or length > HEADER_BYTES:
                raise ValueError("no frame begins like this")
            self.end = HEAD.size + length
            if len(self.got) >= self.end:
                self._read_header()
        if self.body is not None and len(self.got) > self.end:
            raise ValueError("more came than the frame holds")

    def _read_header(self) -> None:
        try:
            header = json.loads(self.got[HEAD.size : self.end].decode())
            listed = [(dtype, tuple(shape)) for dtype, shape in header["arrays"]]
        except (KeyError, TypeError, RecursionError):
            raise ValueError("the header is none") from None
        if "failed" in header:
            self.expected = ()
        if listed != list(self.expected):
            raise ValueError("other arrays came than were expected")
        self.header, self.body = header, self.end
        self.end += sum(_size(*each) for each in self.expected)

    def arrays(self) -> tuple[Array, ...]:
        """The arrays, aligned and contiguous."""
        assert self.body is not None
        arrays, place = [], self.body
        for dtype, shape in self.expected:
            part = memoryview(self.got)[place : place + _size(dtype, shape)]
            # The frame's header has any length, so what lies behind it is not aligned.
            arrays.append(np.frombuffer(part, dtype).reshape(shape).copy())
            place += len(part)
        return tuple(arrays)


def ending(code: int) -> str:
    """A process's return code in words: `exit code 3`, `SIGSEGV`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return np.dtype(dtype).itemsize * math.prod(shape)


def _frame(question: Mapping[str, object] | None, arrays: Sequence[Array]) -> list[memoryview]:
    """The parts of a frame to send; raises `RunFailed` where it is too large."""
    if question is None:
        return []
    listed = [[array.dtype.name, list(array.shape)] for array in arrays]
    text = json.dumps({**question, "arrays": listed}).encode()
    if len(text) > HEADER_BYTES or sum(array.nbytes for array in arrays) > ARRAY_BYTES:
        raise RunFailed(f"The inputs take more than {ARRAY_BYTES} bytes, which are not sent.")
    parts = [HEAD.pack(MAGIC, len(text)) + text, *(array.tobytes() for array in arrays)]
    return [memoryview(part) for part in parts if part]


def _send(descriptor: int, frame: list[memoryview]) -> bool:
    """Write what the pipe takes; False once all is sent, or nobody reads any more."""
    try:
        written = os.write(descriptor, frame[0][:CHUNK])
    except BrokenPipeError:
        frame.clear()  # the end of its output says why
        return False
    frame[0] = frame[0][written:]
    if not frame[0]:
        frame.pop(0)
    return bool(frame)
