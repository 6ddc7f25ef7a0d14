import copy
import json
from pathlib import Path

import pytest
import torch

from benchmarks import topformer_latency as script
from edgevit.networks.create import create_model
from edgevit.networks.topformer.network import Attention


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    """A result of the smallest run, and the folders it was made in."""
    folder = tmp_path_factory.mktemp("latency")
    words = ["--rounds", "3", "--size", "64", "96", "--formats", "onnx", "--weights", "seeded"]
    words += ["--work", str(folder / "work"), "--json", str(folder / "result.json")]
    before = torch.get_num_threads()
    script.main([*words, "--markdown", str(folder / "page.md")])
    torch.set_num_threads(before)
    return folder


def test_a_run_leaves_samples_facts_and_a_page(recorded: Path) -> None:
    result = json.loads((recorded / "result.json").read_text("utf-8"))
    assert (result["kind"], result["size"], result["threads"]) == (script.KIND, [64, 96], 1)
    assert result["machine"]["cpu"] is not None
    assert result["versions"]["onnxruntime"]
    (row,) = result["rows"]
    assert (row["weights"], row["classes"], row["format"]) == ("seeded", 150, "onnx")
    assert {who: len(values) for who, values in row["samples_s"].items()} == {
        "straight": 3,
        "edgevit": 3,
    }
    assert all(file["difference"] <= 1e-4 for file in row["files"].values())
    assert set(row["mask"]["samples_s"]) == {"logits", "in_graph", "exact_mask"}
    assert row["mask"]["agreement"] >= 0.999
    page = (recorded / "page.md").read_text("utf-8")
    assert script.page(result).strip() in page
    assert f"<!-- begin {script.PART} -->" in page
    assert "x86-64" in page or result["machine"]["machine"] != "x86_64"
    assert "{" not in page
    assert "None" not in page


def test_exported_files_are_kept_while_the_code_stays(recorded: Path) -> None:
    state = script.source_state(script.SOURCES)
    (stamp,) = (recorded / "work").rglob("made-by")
    assert stamp.read_text() == state
    straight = stamp.with_name("straight.onnx")
    before = straight.stat().st_mtime_ns
    files = script.prepare("seeded", "onnx", (64, 96), recorded / "work")
    assert files.straight == straight
    assert straight.stat().st_mtime_ns == before


def test_a_recorded_result_is_shown_without_measuring(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    script.main(["--recorded", str(recorded / "result.json"), "--markdown", str(page)])
    assert page.read_text("utf-8") == (recorded / "page.md").read_text("utf-8")
    assert "speed (95 %)" in capsys.readouterr().out


def test_json_of_another_kind_is_refused(recorded: Path) -> None:
    result = json.loads((recorded / "result.json").read_text("utf-8"))
    for wrong in ({**result, "kind": "edgevit-bench"}, {**result, "schema": 2}):
        with pytest.raises(SystemExit, match="no result of schema 1"):
            script.page(wrong)


def test_the_official_order_of_products_computes_the_same() -> None:
    torch.manual_seed(0)
    network = create_model("topformer-t", input_size=(64, 96))
    attention = next(m for m in network.modules() if isinstance(m, Attention))
    official = script.OfficialAttention(copy.deepcopy(attention)).eval()
    x = torch.randn(1, 208, 4, 6)
    with torch.no_grad():
        torch.testing.assert_close(official(x), attention(x))
