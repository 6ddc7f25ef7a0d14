"""A process that does something else than answer: one sentence, in time."""

import json
import struct
import sys
from typing import Any

import numpy as np
import pytest

from edgevit_runtimes import worker
from edgevit_runtimes.errors import DeviceFailed, RunFailed
from edgevit_runtimes.worker import Worker, ending

PRELUDE = """
import json, os, signal, struct, sys, time
def frame(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    os.write(1, struct.pack("<4sI", b"EVW1", len(text)) + text + body)
def question():
    magic, length = struct.unpack("<4sI", sys.stdin.buffer.read(8))
    return json.loads(sys.stdin.buffer.read(length))
"""


def started(code: str) -> Worker:
    return Worker.start("the worker", [sys.executable, "-I", "-S", "-c", PRELUDE + code], "advice")


def ask(code: str, *arrays: Any, secs: float = 60.0, **more: Any) -> Any:
    subject = started(code)
    try:
        return subject.ask({"op": "x"}, arrays, secs=secs, about="model.tflite", **more)
    finally:
        subject.close()


def test_arrays_travel_both_ways_whatever_their_size() -> None:
    x = np.arange(3 << 20, dtype=np.int16).reshape(3, -1)  # more than a pipe holds
    code = """
asked = question()
time.sleep(0.05)
body = sys.stdin.buffer.read(6 << 20)
sys.stderr.write("noise" * 100_000)  # more than a pipe holds too
frame({"op": asked["op"] + "!", "arrays": [["int16", [3, 1 << 20]]]}, body)
"""
    header, (back,) = ask(code, x, expected=[("int16", (3, 1 << 20))])
    assert header["op"] == "x!"
    np.testing.assert_array_equal(back, x)
    assert back.flags.aligned
    assert back.flags.writeable


def test_scalars_and_empty_arrays_are_arrays() -> None:
    code = """
question()
frame({"arrays": [["float32", []], ["int8", [0, 4]]]}, struct.pack("<f", 2.5))
"""
    _, (scalar, empty) = ask(code, expected=[("float32", ()), ("int8", (0, 4))])
    assert (scalar.shape, float(scalar), empty.shape) == ((), 2.5, (0, 4))


BAD = {
    "nothing": ("", r"ended \(exit code 0\) on model\.tflite"),
    "an exit code": ("sys.exit(3)", r"ended \(exit code 3\)"),
    "a last word": ("sys.exit('out of memory')", r"ended \(exit code 1: out of memory\)"),
    "a signal": ("os.kill(os.getpid(), signal.SIGSEGV)", r"ended \(SIGSEGV\)"),
    "half a frame": ("os.write(1, b'EVW1'); question(); os._exit(5)", r"ended \(exit code 5\)"),
    "text": ("os.write(1, b'INFO: hello there')", "no answer that can be read"),
    "a long header": ("os.write(1, struct.pack('<4sI', b'EVW1', 1 << 30))", "no answer"),
    "no JSON": ("frame(b'{')", "no answer that can be read"),
    "no text": ("frame(bytes([255]))", "no answer that can be read"),
    "deep JSON": ("frame(b'[' * 100_000)", "no answer that can be read"),
    "another value": ("frame([1])", "no answer that can be read"),
    "no arrays": ("frame({})", "no answer that can be read"),
    "other arrays": ("frame({'arrays': [['int8', [1 << 40]]]})", "no answer that can be read"),
    "unhashable arrays": ("frame({'arrays': [[[], 1]]})", "no answer that can be read"),
    "more than said": ("frame({'arrays': []}, b'more')", "no answer that can be read"),
    "silence": ("question(); time.sleep(60)", r"took longer than 0\.5 s on model\.tflite"),
    "half, and silence": ("os.write(1, b'EVW1'); time.sleep(60)", r"took longer than 0\.5 s"),
    "a closed pipe": ("os.close(1); time.sleep(60)", "no answer that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_anything_but_an_answer_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LEAVING_SECS", 0.5)
    code, sentence = BAD[name]
    waits = "silence" in name
    with pytest.raises(DeviceFailed, match=sentence) as caught:
        ask(code, secs=0.5 if waits else 60.0)
    assert caught.value.message.startswith("the worker ")
    assert caught.value.next == "advice"


def test_a_question_that_nobody_reads_ends_in_time() -> None:
    with pytest.raises(DeviceFailed, match="took longer"):
        ask("time.sleep(60)", np.zeros(1 << 20), secs=0.5)


def test_an_answer_before_the_question_was_heard_is_none() -> None:
    with pytest.raises(DeviceFailed, match="no answer that can be read"):
        ask("frame({'arrays': []}); time.sleep(60)", np.zeros(1 << 20))


def test_a_failure_that_was_told_leaves_the_worker_alive() -> None:
    subject = started("question(); frame({'failed': 'why', 'arrays': []}); question()\n"
                      "frame({'arrays': []})")  # fmt: skip
    with pytest.raises(RunFailed, match=r"^why$"):
        subject.ask({}, expected=[("int8", (2,))], secs=60.0, about="m")
    assert subject.ask({}, secs=60.0, about="m") == ({"arrays": []}, ())
    subject.close()
    assert subject.process.returncode == 0


def test_a_stopped_worker_stays_stopped() -> None:
    subject = started("os.abort()")
    for sentence in ("SIGABRT", "was stopped"):
        with pytest.raises(DeviceFailed, match=sentence):
            subject.ask({}, secs=60.0, about="m")
    subject.close()


def test_an_interrupt_stops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = started("time.sleep(60)")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "_exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        subject.ask({}, secs=60.0, about="m")
    assert subject.process.returncode is not None


def test_what_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = started("question(); frame({'arrays': []})")
    monkeypatch.setattr(worker, "ARRAY_BYTES", 7)
    with pytest.raises(RunFailed, match="more than 7 bytes"):
        subject.ask({}, [np.zeros(2, np.float32)], secs=60.0, about="m")
    assert subject.ask({}, secs=60.0, about="m")[1] == ()
    subject.close()


def test_one_that_does_not_leave_is_ended() -> None:
    subject = started("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)")
    subject.close(patience=0.0)
    assert subject.process.returncode == -9


def test_endings_in_words() -> None:
    assert [ending(code) for code in (0, 3, -11, -250)] == [
        "exit code 0", "exit code 3", "SIGSEGV", "signal 250",
    ]  # fmt: skip


def test_the_frame_of_the_worker_file_is_this_one() -> None:
    from edgevit_runtimes.sessions import tflite_worker

    assert tflite_worker.MAGIC == worker.MAGIC
    assert tflite_worker.HEADER_BYTES == worker.HEADER_BYTES
    assert tflite_worker.ARRAY_BYTES == worker.ARRAY_BYTES
    (frame,) = worker._frame({"op": "x"}, [])
    magic, length = struct.unpack("<4sI", frame[:8])
    assert (magic, json.loads(bytes(frame[8:]))) == (b"EVW1", {"op": "x", "arrays": []})
    assert length == len(frame) - 8
