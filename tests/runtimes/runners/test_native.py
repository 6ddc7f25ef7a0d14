"""What the native runner is told and tells, without it."""

import json

import pytest

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.estimate.symbols import Mapped
from edgevit_runtimes.runners.native import Asked, order_of, read_told
from edgevit_runtimes.session import Port

OPENED = {
    "event": "opened",
    "engine": "onnxruntime",
    "version": "1.31.1",
    "load_ns": 5,
    "inputs": [{"name": "image", "dtype": "float32", "shape": [1, 3]}],
    "outputs": [{"name": "logits", "dtype": "int8", "shape": []}],
}
EVENTS = (
    OPENED,
    {"event": "first", "ns": 7},
    {"event": "samples", "ns": [1, 2]},
    {"event": "samples", "ns": [3]},
    {"event": "maps", "maps": [{"start": 16, "end": 32, "offset": 0, "path": "/x.so"}, {}]},
    {"event": "done", "runs": 3, "peak_rss_kib": 99},
)


def lines(*events: object) -> list[str]:
    return [json.dumps(event) for event in events]


def test_the_command_line() -> None:
    assert Asked(threads=2).words("m", "lib.so") == [
        *("--model", "m", "--threads", "2", "--library", "lib.so", "--describe")
    ]
    asked = Asked(warmup=3, runs=10, min_secs=0.5, max_secs=9, marks=True, cpu_mask="f0")
    words = asked.words("m", None, ["a", "b"], ["c"])
    assert words[4:] == [
        *("--warmup", "3", "--runs", "10", "--min-secs", "0.5", "--max-secs", "9"),
        *("--input", "a", "--input", "b", "--output", "c", "--marks", "--cpu-mask", "f0"),
    ]


def test_a_whole_run() -> None:
    told = read_told(lines(*EVENTS), "model.onnx")
    assert told.inputs == (Port("image", (1, 3), "float32"),)
    assert told.outputs == (Port("logits", (), "int8"),)
    assert (told.load_ns, told.first_ns, told.samples_ns) == (5, 7, (1, 2, 3))
    assert told.maps == (Mapped(16, 32, 0, "/x.so"), Mapped(0, 0, 0, ""))
    assert (told.version, told.peak_rss_kib, told.done) == ("1.31.1", 99, True)


def test_what_was_measured_before_it_broke_off_is_kept() -> None:
    text = [*lines(*EVENTS[:3]), '{"event": "samples", "ns": [3, 4']
    told = read_told(text, "model.onnx")
    assert (told.samples_ns, told.done) == ((1, 2), False)


def test_what_libraries_print_is_no_event() -> None:
    noise = ["INFO: loaded", "{not json", "[1]", '{"event": "hello"}', "{" + " " * (1 << 21) + "}"]
    assert read_told([*noise, *lines(*EVENTS)], "model.onnx").done


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ((), "told nothing"),
        (EVENTS[1:], "told nothing"),
        (({"event": "failed", "message": "no memory."},), r"^model\.onnx: no memory\.$"),
        ((OPENED, {"event": "failed", "message": "no memory"}), r"^model\.onnx: no memory\.$"),
        (({**OPENED, "load_ns": "soon"},), "something unknown"),
        (({**OPENED, "inputs": [{}]},), "something unknown"),
        (({k: v for k, v in OPENED.items() if k != "version"},), "something unknown"),
        (({**OPENED, "outputs": [{"name": "y", "dtype": "int8", "shape": [-1]}]},), "dynamic size"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(events: tuple[object, ...], message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        read_told(lines(*events), "model.onnx")


def test_numbered_ports_come_in_the_order_of_their_numbers() -> None:
    def ports(*names: str) -> list[Port]:
        return [Port(name, (1,), "int8") for name in names]

    assert order_of(ports("output_0", "output_10", "output_2")) == [0, 2, 1]
    assert order_of(ports("b", "a")) == [0, 1]
    assert order_of(ports("output_1", "logits", "output_0")) == [0, 1, 2]
