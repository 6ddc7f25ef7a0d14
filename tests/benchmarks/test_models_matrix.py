import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import models_matrix as script
from edgevit.bundle.opened import Bundle
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.networks.zoo import MODELS, model_card
from edgevit_export.formats import FORMATS

CELL = {
    "size": 3_000_000,
    "status": "executed",
    "reason": "",
    "difference": 2e-6,
    "agreement": None,
    "delegated_subgraphs": None,
    "left_out": {},
    "facts": {},
    "export_cpu_seconds": 4.0,
}
UNSEEN = {**CELL, "status": "not verified", "reason": "Core ML runs on macOS only"}


@pytest.fixture
def kept(tmp_path: Path) -> list[str]:
    """Words that keep a run's files apart from the repository's."""
    return [
        "--records", str(tmp_path / "models.json"), "--markdown", str(tmp_path / "models.md"),
        "--work", str(tmp_path / "work"),
    ]  # fmt: skip


def records() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(script.RECORDS.read_text("utf-8"))
    return found


def test_the_page_in_docs_has_every_network_or_says_that_it_was_not_run() -> None:
    names = {name for name, card in MODELS.items() if card.params <= script.MOST_PARAMS}
    text = script.PAGE.read_text("utf-8")
    missing = names - set(records())
    assert set(records()) <= names
    assert missing == set(re.findall(r"[\w-]+", script.not_run(records()))) & names
    assert script.not_run(records()) in " ".join(text.split())
    assert all(set(row["cells"]) == set(FORMATS) for row in records().values())


def test_networks_without_a_row_are_named() -> None:
    every = {card.name: {} for card in script.wanted([])}
    assert script.not_run(every) == "All of them were run."
    del every["vit-tiny-16"]
    assert script.not_run(every) == "Not run yet: vit-tiny-16."


def test_the_page_in_docs_is_that_of_its_records() -> None:
    assert script.PAGE.read_text("utf-8") == script.page(records())


def test_every_cell_in_docs_was_verified_or_says_why_not() -> None:
    for name, row in records().items():
        for format_, found in row["cells"].items():
            if found.get("status") == "executed":
                assert found["difference"] <= FP32_DIFFERENCE, (name, format_)
            else:
                assert found.get("failed") or found["reason"], (name, format_)


def test_the_cheapest_networks_come_first() -> None:
    cards = script.wanted([])
    assert [card.gmacs for card in cards] == sorted(card.gmacs for card in cards)
    assert max(card.params for card in cards) <= script.MOST_PARAMS
    assert script.wanted(["vit-huge-14"]) == [model_card("vit-huge-14")]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (CELL, "3.0 MB, 2e-06, 4 s"),
        ({**CELL, "delegated_subgraphs": 1}, "3.0 MB, 2e-06, 1 subgraph, 4 s"),
        ({**CELL, "delegated_subgraphs": 9}, "3.0 MB, 2e-06, 9 subgraphs, 4 s"),
        ({**UNSEEN, "facts": {"highest rank": "5"}},
         "3.0 MB, not verified: Core ML runs on macOS only, rank 5, 4 s"),
        ({**CELL, "facts": {script.FACT: "needs LiteRT 2.3.0: it cannot"}},
         "3.0 MB, 2e-06, needs LiteRT 2.3.0, 4 s"),
        ({**CELL, "facts": {script.FACT: "2.14.0: executed"}}, "3.0 MB, 2e-06, 4 s"),
        ({"failed": "no | file."}, "failed: no / file."),
    ],
)  # fmt: skip
def test_a_cell_says_what_was_found(found: dict[str, Any], text: str) -> None:
    assert script.cell(found) == text


def test_a_row_is_made_once_and_again_when_the_code_changes(
    kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked: list[str] = []

    def cells(name: str, work: Path) -> dict[str, Any]:
        asked.append(name)
        left = {**CELL, "left_out": {"aten.embedding": 9}} if name == "vit-micro" else CELL
        return {**dict.fromkeys(FORMATS, CELL), "executorch": left, "coreml": UNSEEN}

    monkeypatch.setattr(script, "_in_a_process", cells)
    monkeypatch.setattr(script, "source_state", lambda sources: "one")
    script.main(["vit-micro", *kept])
    script.main(["vitpose-micro", "vit-micro", "--jobs", "2", *kept])
    assert asked == ["vit-micro", "vitpose-micro"]
    text = (tmp_path / "models.md").read_text("utf-8")
    assert text.count("Core ML runs on macOS only") == 2
    assert "- vit-micro: 9 aten.embedding\n" in text
    assert "{" not in text
    monkeypatch.setattr(script, "source_state", lambda sources: "another")
    script.main(["vit-micro", "--missing", *kept])
    assert asked == ["vit-micro", "vitpose-micro"]
    script.main(["vit-micro", *kept])
    assert asked == ["vit-micro", "vitpose-micro", "vit-micro"]
    assert set(json.loads((tmp_path / "models.json").read_text())) == {"vit-micro", "vitpose-micro"}
    assert "0 cells failed" in capsys.readouterr().out


def test_a_process_that_dies_is_a_row_with_its_reason(
    kept: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: died)
    monkeypatch.setattr(script, "source_state", lambda sources: "one")
    monkeypatch.setattr(script, "commit", lambda: "abc")
    monkeypatch.setattr(script, "changed", lambda: False)
    with pytest.raises(SystemExit, match="vit-micro coreml: the process ended with -9"):
        script.main(["vit-micro", *kept])
    assert "failed: the process ended with -9" in (tmp_path / "models.md").read_text("utf-8")


@pytest.mark.full  # a process of its own; `make test-all` runs the whole script, too
def test_one_network_through_one_process(tmp_path: Path) -> None:
    """The real thing, with the smallest network there is and the format that takes least."""
    cells = script._in_a_process("vit-micro", tmp_path / "work", ("onnx",))
    assert set(cells) == {"onnx"}
    assert cells["onnx"]["status"] == "executed"
    assert cells["onnx"]["difference"] <= FP32_DIFFERENCE
    assert cells["onnx"]["export_cpu_seconds"] > 0
    assert not list((tmp_path / "work").iterdir())


def test_a_row_is_what_its_bundle_says(micro_bundle: Callable[[str], Bundle]) -> None:
    bundle = micro_bundle("vit-micro")
    cells = script.cells_of(bundle, {entry.suffix: 1.25 for entry in FORMATS.values()})
    assert set(cells) == set(FORMATS)
    assert cells["executorch"]["delegated_subgraphs"] == 1
    for format_, cell in cells.items():
        assert set(cell) == set(CELL)
        assert cell["size"] == bundle.entry(format_).size
        assert cell["export_cpu_seconds"] == 1.2
