"""The table of docs/quantization.md: what its cells say, and that it is that of its records."""

import json

import pytest

from benchmarks.quantization import COLUMNS, NAMES, PAGE, RECORDS, WORDS, absent, lines, page
from edgevit_export.formats import FORMATS

ACCURACY = {"metric": "top-1", "value": 0.75, "reference": 0.76, "samples": 200, "labeled": True}


def cell(**change):
    return {
        "size": 30,
        "fp32_size": 100,
        "sqnr": 28.37,
        "status": "executed",
        "reason": "",
        "facts": {},
        "accuracy": [{**ACCURACY, "data": "drawn scenes"}],
        "passed": [True],
        "seconds": {"fp32": [0.002] * 20, "quantized": [0.001] * 20},
        "busy": 0.1,
        "commit": "abc",
        **change,
    }


def row(**cells):
    named = {key.replace("_", "/"): value for key, value in cells.items()}
    return {"machine": "a machine", "cells": named}


def only(found):
    (line,) = lines({"vit-micro": row(w8a8_onnx=found)})
    assert len(line) == len(COLUMNS)
    return dict(zip(COLUMNS, line, strict=True))


def test_a_cell_has_score_size_and_speed():
    told = only(cell())
    assert (told["network"], told["runtime"], told["precision"]) == ("vit-micro", "onnx", "w8a8")
    assert (told["score"], told["fp32"], told["gate"]) == ("0.7500", "0.7600", "kept")
    assert (told["SQNR"], told["size to fp32"]) == ("28.4 dB", "0.30")
    assert told["speed to fp32"] == "2.00 (2.00 to 2.00)"


def test_what_does_not_win_and_what_misses_is_said():
    slow = cell(seconds={"fp32": [0.001] * 20, "quantized": [0.002] * 20}, passed=[False])
    told = only(slow)
    assert told["speed to fp32"].endswith("**slower**")
    assert told["gate"] == "**missed**"


def test_speed_that_may_be_none_is_no_gain():
    around = {"fp32": [0.001, 0.0011] * 10, "quantized": [0.0011, 0.001] * 10}
    assert only(cell(seconds=around))["speed to fp32"].endswith("**no gain**")


@pytest.mark.parametrize(
    ("busy", "said"),
    [(0.1, "at most 0.10 cores busy"), (0.9, "0.90 cores busy (speeds are doubtful)")],
)
def test_the_page_says_at_which_commit_and_how_idle_the_machine_was(busy, said):
    text = page({"vit-micro": row(w8a8_onnx=cell(busy=busy))})
    assert "vit-micro: commit abc, a machine" in text
    assert said in text
    assert "unknown" in page({"vit-micro": row(w8a8_onnx=cell(busy=None))})


def test_what_was_not_timed_is_said():
    assert only({k: v for k, v in cell().items() if k != "seconds"})[COLUMNS[-1]] == "not timed yet"


def test_what_was_not_run_or_failed_says_why():
    told = only(cell(status="not verified", reason="Core ML runs on macOS only"))
    assert told["metric"] == "not run: Core ML runs on macOS only"
    assert told["size to fp32"] == "0.30"
    assert only({"failed": "no | such layer"})["metric"] == "failed: no / such layer"


def test_every_cell_that_does_not_exist_has_its_reason():
    told = absent()
    missing = [(f, w) for f, e in FORMATS.items() for w in WORDS if w not in e.precisions]
    assert len(told) == len(missing)
    for (format_, word), line in zip(missing, told, strict=True):
        assert line.startswith(f"{format_} {word}: ")
        assert len(line) > len(f"{format_} {word}: ") + 10


def test_the_page_is_that_of_its_records():
    rows = json.loads(RECORDS.read_text("utf-8"))
    assert set(rows) <= set(NAMES)
    assert page(rows).strip() in PAGE.read_text("utf-8")
