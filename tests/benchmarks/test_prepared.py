import json
import os
import signal
from pathlib import Path

import pytest
import torch

from benchmarks import prepared
from benchmarks.networks import Row
from benchmarks.prepared import alone, in_words, make, prepare
from edgevit_export.errors import LoweringFailed

ROW = Row("vit-micro", (112, 112))
AT = "While executing %a : [num_users=1] = call_function[target=torch.ops.aten."


def test_a_job_that_crashes_ends_its_own_process() -> None:
    assert alone(os._exit, 3) == "ended with code 3"
    assert alone(signal.raise_signal, signal.SIGTERM) == "was ended by signal 15"
    assert alone(signal.raise_signal, signal.SIGKILL).endswith("(out of memory, most likely)")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            AttributeError(
                f"'list' object has no attribute 'dtype'\n\n{AT}split_with_sizes.default]"
            ),
            "the exporter does not take a split into one part, which deformable attention over"
            " one map has",
        ),
        (RuntimeError(f"no\n{AT}roll.default](x)"), "RuntimeError at aten.roll: no"),
        (ValueError("\n  a | b.  \nsecond"), "ValueError: a / b"),
        (ValueError(""), "ValueError: no reason given"),
        (LoweringFailed("x" * 300), f"LoweringFailed: {'x' * 200} [cut]"),
    ],
)
def test_a_failure_is_one_sentence(error: Exception, words: str) -> None:
    assert in_words(error) == words


def test_what_an_exporter_refuses_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such operator")

    before = torch.get_num_threads()
    monkeypatch.setattr(prepared, "export_straight", refuse)
    make(ROW, "onnx", "straight", None, tmp_path / "straight.json", "state")
    torch.set_num_threads(before)
    said = json.loads((tmp_path / "straight.json").read_text("utf-8"))
    assert (said["state"], said["reason"]) == ("state", "ValueError: no such operator")
    assert said["export_s"] >= 0


def test_a_kept_outcome_is_used_until_the_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def write(job: object, row: Row, name: str, who: str, peers: object, outcome: Path, state: str):
        made.append(who)
        said = {"state": state, "reason": f"try {len(made)}", "export_s": 1.0}
        outcome.write_text(json.dumps(said))
        return "ended with code 0"

    monkeypatch.setattr(prepared, "alone", write)
    first = prepare(ROW, "onnx", "straight", None, tmp_path)
    assert first == prepare(ROW, "onnx", "straight", None, tmp_path)
    assert (first.reason, first.input, first.path.name) == ("try 1", None, "straight.onnx")
    monkeypatch.setattr(prepared, "source_state", lambda *_: "other")
    assert prepare(ROW, "onnx", "straight", None, tmp_path).reason == "try 2"


def test_a_process_that_leaves_no_outcome_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "alone", lambda *_: "was ended by signal 11")
    file = prepare(ROW, "litert", "edgevit", None, tmp_path)
    assert file.reason == "the exporting process was ended by signal 11"
    assert file.facts == {}
