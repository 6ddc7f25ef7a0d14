import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import models_latency as script
from benchmarks import prepared
from benchmarks.networks import PLAIN, ROWS


def here(job: Callable[..., None], *arguments: object) -> str:
    """`alone` without the new process, which would load torch once more."""
    job(*arguments)
    return "ended with code 0"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the smallest run: one micro network, one format, three rounds."""
    folder = tmp_path_factory.mktemp("latency")
    words = ["--models", "vit-micro", "--formats", "onnx", "--rounds", "3"]
    words += ["--work", str(folder / "work"), "--json", str(folder / "result.json")]
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        for module in (script, prepared):
            patch.setattr(module, "alone", here)
        patch.setattr(prepared, "source_state", lambda *_: "the same code")
        patch.setattr("benchmarks.networks.timm_version", lambda peers: None)
        patch.setattr(script, "timm_version", lambda peers: None)
        script.main([*words, "--markdown", str(folder / "page.md")])
        torch.set_num_threads(before)
        yield folder


@pytest.fixture
def result(recorded: Path) -> dict[str, Any]:
    """That run's result, to be changed."""
    loaded: dict[str, Any] = json.loads((recorded / "result.json").read_text("utf-8"))
    return copy.deepcopy(loaded)


def test_a_run_leaves_samples_facts_and_its_part_of_the_page(
    recorded: Path, result: dict[str, Any]
) -> None:
    assert (result["kind"], result["threads"], result["rounds"]) == (script.KIND, 1, 3)
    (row,) = result["rows"]
    assert (row["model"], row["size"], row["format"]) == ("vit-micro", [112, 112], "onnx")
    assert row["peer"] == PLAIN
    assert {who: len(values) for who, values in row["samples_s"].items()} == {
        "straight": 3,
        "edgevit": 3,
    }
    assert all(file["difference"] <= 1e-4 for file in row["files"].values())
    assert row["reasons"] == {"straight": None, "edgevit": None}
    page = (recorded / "page.md").read_text("utf-8")
    assert script.page(result).strip() in page
    assert f"<!-- begin {script.PART} -->" in page
    assert "None is missing." in page
    assert "{" not in page


def test_the_same_command_measures_nothing_anew(
    recorded: Path, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def refuse(*_: object) -> str:
        raise AssertionError("nothing is left to do")

    for module in (script, prepared):
        monkeypatch.setattr(module, "alone", refuse)
    again = script.measure_all(
        script.chosen(["vit-micro-112x112"]), ["onnx"], 3, 90.0, None, recorded / "work"
    )
    assert again["rows"] == result["rows"]
    assert "exported in" in capsys.readouterr().err


def test_files_can_be_made_without_measuring(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "compare", lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(prepared, "source_state", lambda *_: "the same code")
    monkeypatch.setattr("benchmarks.networks.timm_version", lambda peers: None)
    words = ["--models", "vit-micro", "--formats", "onnx", "--work", str(recorded / "work")]
    script.main([*words, "--export-only"])
    told = capsys.readouterr()
    assert told.err.count("exported in") == len(script.WHO)
    assert "speed" not in told.out


def test_a_recorded_result_is_shown_without_measuring(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    script.main(["--recorded", str(recorded / "result.json"), "--markdown", str(page)])
    assert page.read_text("utf-8") == (recorded / "page.md").read_text("utf-8")
    assert "speed (95 %)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("missing", "shown", "sentence"),
    [
        ("straight", "no file beside it", f"onnx, {PLAIN} straight: no grid_sample."),
        ("edgevit", "no", "onnx, edgevit: no grid_sample."),
    ],
)
def test_a_file_that_is_missing_is_a_row_with_its_reason(
    result: dict[str, Any], missing: str, shown: str, sentence: str, tmp_path: Path
) -> None:
    row = result["rows"][0]
    row["reasons"][missing] = "no grid_sample"
    del row["samples_s"][missing]
    row["files"][missing] = {"export_s": 1.0}
    (cells,) = script.table_rows(result)
    assert cells[script.COLUMNS.index(f"{missing}, ms")] == "-"
    assert cells[script.COLUMNS.index("speed (95 %)")] == "-"
    assert cells[script.COLUMNS.index("kept")] == shown
    assert f"- vit-micro 112x112, {sentence}" in " ".join(script.page(result).split())
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    if missing == "edgevit":
        with pytest.raises(SystemExit) as left:
            script.main(["--recorded", str(path)])
        assert left.value.code == 1
    else:
        script.main(["--recorded", str(path)])


def test_a_row_that_misses_its_bound_is_told_in_numbers(result: dict[str, Any]) -> None:
    assert "All keep it." in script.page(with_speed(result, 2.0))
    slow = with_speed(result, 0.5)
    slow["product_gmacs_per_s"], slow["rows"][0]["gmacs"] = 40.0, 0.2
    (line,) = script.not_reached(slow)
    assert line.startswith("vit-micro 112x112, onnx: 0.500 (")
    assert line.endswith("That would be 10.31 ms; the products alone take 5.00 ms.")
    assert f"- {line}" in " ".join(script.page(slow).split())


def with_speed(result: dict[str, Any], speed: float) -> dict[str, Any]:
    """The result with a straight file of 10 ms, and ours of that speed beside it."""
    changed = copy.deepcopy(result)
    changed["rows"][0]["samples_s"] = {"straight": [0.01] * 3, "edgevit": [0.01 / speed] * 3}
    return changed


def test_a_crash_while_measuring_is_the_reason_of_both(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (row,) = script.chosen(["vit-micro"])
    files = {who: prepared.prepare(row, "onnx", who, None, recorded / "work") for who in script.WHO}
    monkeypatch.setattr(script, "alone", lambda *_: "was ended by signal 9")
    found = script.compare(row, "onnx", files, 3, 1.0, tmp_path / "samples")
    assert found["samples_s"] == {}
    assert set(found["reasons"].values()) == {"the measuring process was ended by signal 9"}


def test_slow_networks_get_fewer_rounds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[int] = []

    def slow(files: object, rounds: int, warmup: int) -> dict[str, list[float]]:
        asked.append(rounds)
        return {"straight": [2.0] * rounds, "edgevit": [1.0] * rounds}

    monkeypatch.setattr(script, "time_files", slow)
    for rounds, seconds in ((100, 1000.0), (100, 120.0), (100, 6.0), (5, 6.0)):
        script.measure({}, (1, 3, 4, 4), rounds, seconds, tmp_path / "samples")
    assert asked[1::2] == [100, 40, script.FEWEST, 5]


def test_rows_are_chosen_by_model_or_by_size() -> None:
    assert script.chosen(None) == list(ROWS)
    assert [row.key for row in script.chosen(["mvitv2-s-video"])] == [
        "mvitv2-s-video-8x64x64",
        "mvitv2-s-video-16x112x112",
    ]
    assert len(script.chosen(["mvitv2-s-video-8x64x64", "vit-micro"])) == 2
    with pytest.raises(SystemExit):
        script.main(["--models", "vit-enormous"])


def test_json_of_another_kind_is_refused(result: dict[str, Any]) -> None:
    for wrong in ({**result, "kind": "edgevit-bench"}, {**result, "schema": 2}):
        with pytest.raises(SystemExit, match="no result of schema 1"):
            script.page(wrong)
