"""docs/proof.md tells what its records hold, and they hold what was asked."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import peers_on_arm, proof
from benchmarks.arm_tables import absent, bound_ms, counted, near, span, speed
from edgevit_runtimes.cores import CORES

RECORDS: dict[str, Any] = json.loads(proof.RECORDS.read_text("utf-8"))


def cell(low: float, high: float, **more: Any) -> dict[str, Any]:
    row = {"instructions": [12_340_000], "estimate": {"interval_ms": [low, high]}}
    return {"reason": None, "row": row, "nearness": {"difference": 2e-6}, **more}


def test_the_page_is_that_of_the_records() -> None:
    assert proof.PAGE.read_text("utf-8") == proof.page(RECORDS)


def test_every_cell_of_the_proof_was_tried() -> None:
    assert set(RECORDS["cells"]) == {each.key for each in proof.cells()}
    keys = {
        proof.key(side, output, precision, name, who)
        for side, precision, name in proof.combinations()
        for output in ("logits", "mask")
        for who in proof.WHO
    }
    assert keys == set(RECORDS["cells"])


def test_every_fp32_file_computes_on_arm_what_the_network_computes() -> None:
    for key, found in RECORDS["cells"].items():
        if "-fp32-" in key:
            assert found["reason"] is None, key
            told = found["nearness"]
            most = 1e-5 if key.endswith("edgevit") else 1e-4
            assert told.get("difference", 0.0) <= most, key
            assert told["equal"] >= 0.999, key


def test_no_estimate_is_below_the_bound_of_its_multiply_adds() -> None:
    for key, found in RECORDS["cells"].items():
        if found["reason"] is None:
            price = found["row"]["estimate"]
            assert price["bound_ms"] < price["compute_ms"] <= price["interval_ms"][0] + 1e-9, key


def test_the_core_reaches_what_was_asked_at_448() -> None:
    """Milliseconds of computing alone, on a Cortex-A77 at 2.84 GHz."""
    asked = {"input": 1.5, "exact mask, scene150": 1.5, "exact mask, noise": 30.0, "overlay": 1.0}
    for start, most in asked.items():
        rows = RECORDS["core_rows"]["448"]
        found = [row["compute_ms"] for name, row in rows.items() if name.startswith(start)]
        assert found, start
        assert max(found) <= most, start


def test_cells_in_words() -> None:
    assert counted(cell(1, 2)) == "12.3"
    assert span(cell(1.04, 2.06), (1, 2)) == "2.0 to 4.1"
    assert near(cell(1, 2)) == "2e-06"
    reduced = cell(1, 2, nearness={"difference": 0.1, "sqnr": 30.06, "equal": 0.9871})
    assert near(reduced) == "30.1 dB, 98.71% of pixels"
    assert speed(cell(3, 9), cell(1, 2), (0.5, 1)) == "2.00"
    none: dict[str, Any] = {"reason": "why not"}
    assert (counted(none), span(none), near(none), speed(none, cell(1, 2))) == ("-",) * 4
    assert bound_ms(408_000_000, "fp32", CORES["cortex-a77"]) == pytest.approx(17.96, abs=0.01)
    cells = list(proof.cells())[:3]
    found = {each.key: none for each in cells[:2]} | {cells[2].key: cell(1, 2)}
    said = " ".join(absent(cells, found).split())
    assert said == f"- {cells[0].key}, {cells[1].key}: why not"
    assert absent(cells[2:], found) == "None is missing."


def test_what_is_counted_becomes_results_and_a_report(tmp_path: Path) -> None:
    row = {
        "file": "f",
        "engine": "litert",
        "instructions": [10],
        "threads": 1,
        "kinds": {"load": 10},
    }
    row["estimate"] = {"interval_ms": [1.0, 2.0], "model": "m", "clock_ghz": 2.84, "hottest": []}
    found = {each.key: {"reason": None, "row": {**row, "file": each.key}} for each in proof.cells()}
    paths = proof.results_of(found, "cortex-a77", tmp_path)
    assert [path.name for path in paths] == [
        f"{output}-{side}.json" for side in (448, 512) for output in ("logits", "mask")
    ]
    text = proof.report(paths)
    assert text.count("An estimate, not a measurement") == 4
    assert "topformer-t-scene150-512x512-mask-w8a8-onnx-edgevit" in text


def test_peers_that_were_not_counted_are_said_to_be_absent() -> None:
    assert "make proof PEERS=1" in peers_on_arm.section(None)
    told = {"ncnn-448-fp16": cell(1, 2, nearness={"difference": 0.1, "sqnr": 30.0, "equal": 1.0})}
    assert "| 448x448 | fp16 | ncnn " in peers_on_arm.section(told)
