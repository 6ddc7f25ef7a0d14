"""The full-size table of docs/quantization.md: its lines, and that it is that of its records."""

import json

from benchmarks.quantization_full_size import CASES, COLUMNS, FORMATS, PAGE, RECORDS, WORDS, page
from edgevit.networks.zoo import MODELS

FILES = {
    "onnx": {"precision": "w8a8", "worst": 29.26, "mean": 30.0},
    "executorch": {"precision": "mixed", "worst": 23.9, "mean": 26.0},
    "litert": {"failed": "No mixture keeps the gate."},
}


def test_the_table_says_what_a_word_became_and_what_it_missed():
    made = {"files": FILES, "commit": "abc", "seeds": [5, 20]}
    told = page({"vit-tiny-16": {"int8": made}})
    assert "- commit abc, inputs of seeds 5 to 20: vit-tiny-16 int8" in told
    onnx, executorch, litert = (line for line in told.splitlines() if "| vit-tiny-16 |" in line)
    assert "| w8a8 | 29.3 dB | 30.0 dB | 24 dB |" in onnx
    assert "| mixed | 23.9 dB **missed** |" in executorch
    assert "failed: No mixture keeps the gate." in litert
    assert {line.count("|") for line in (onnx, executorch, litert)} == {len(COLUMNS) + 1}


def test_every_case_is_a_network_of_the_table():
    assert set(CASES) <= set(MODELS)


def test_the_page_is_that_of_the_records():
    rows = json.loads(RECORDS.read_text("utf-8"))
    assert set(rows) == set(CASES)
    for row in rows.values():
        assert set(row) == set(WORDS)
        assert all(set(made["files"]) == set(FORMATS) for made in row.values())
    assert page(rows) in PAGE.read_text("utf-8")
