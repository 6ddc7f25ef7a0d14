"""One file on an emulated ARM core: how near it is, what it is called, and a whole one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import arm_cells
from benchmarks.arm_cells import Cell, Mask, count_cell, make, multiply_adds, nearness, short, slim
from benchmarks.straight import Scale
from edgevit.networks.create import create_model
from tests.support.native import need

CELL = Cell("vit-micro", (112, 112), "onnx", "fp32", "edgevit")


def test_a_cell_has_a_name_of_its_own() -> None:
    assert CELL.key == "vit-micro-112x112-logits-fp32-onnx-edgevit"
    other = Cell(
        "topformer-t", (448, 448), "litert", "w8a8", "straight", "mask", "a150.safetensors"
    )
    assert other.key == "topformer-t-a150-448x448-mask-w8a8-litert-straight"


def test_nearness_is_that_of_the_worst_output() -> None:
    want = np.zeros((1, 3, 2, 2), np.float32)
    want[:, 1] = 1
    got = want.copy()
    got[0, 0, 0, 0] = 2
    near = nearness(CELL, [want, got], [want, want])
    assert near == {"difference": 2.0, "equal": 1.0}  # the pixels of the first
    reduced = Cell("m", (2, 2), "onnx", "w8a8", "edgevit")
    near = nearness(reduced, [got], [want])
    assert near["equal"] == 0.75
    assert near["sqnr"] == pytest.approx(0.0)  # noise of 4, signal of 4
    mask = Cell("m", (2, 2), "onnx", "fp32", "edgevit", "mask")
    assert nearness(mask, [np.array([[1, 2]])], [np.array([[1, 3]])]) == {"equal": 0.5}


def test_the_mask_is_upsampled_logits() -> None:
    network = create_model("topformer-t", input_size=(64, 64))
    picture = torch.randn(network.input_shape)
    with torch.no_grad():
        found = Mask(network)(picture)
        logits = torch.nn.functional.interpolate(network(picture), size=(64, 64), mode="bilinear")
    assert found.shape == (1, 64, 64)
    assert torch.equal(found, logits.argmax(1))


def test_multiply_adds_are_those_of_the_card() -> None:
    network = create_model("vit-micro")
    assert multiply_adds(network) == pytest.approx(0.0397e9, rel=0.08)  # without biases and norms


def test_a_port_of_integers() -> None:
    scale = Scale(0.5, -3)
    held = scale.quantized(np.array([0.0, 1.0, 1000.0, -1000.0], np.float32))
    assert held.dtype == np.int8
    assert held.tolist() == [-3, -1, 127, -128]
    assert scale.real(held).tolist() == [0.0, 1.0, 65.0, -62.5]
    real = np.array([0.25], np.float32)
    assert Scale(0.0, 0).quantized(real) is real
    assert Scale(0.0, 0).real(real) is real


def test_what_no_format_has_is_a_reason(tmp_path: Path) -> None:
    absent = Cell("vit-micro", (112, 112), "executorch", "w8", "edgevit")
    make(absent, tmp_path, "cortex-a77", tmp_path / "outcome.json", "state")
    found = json.loads((tmp_path / "outcome.json").read_text())
    assert found["reason"].startswith("XNNPACK takes no int8 weights")
    assert short(found) == found["reason"]


def test_a_cell_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def alone(_job: object, cell: Cell, _work: Path, _core: str, outcome: Path, state: str) -> str:
        made.append(cell.key)
        outcome.write_text(json.dumps({"state": state, "reason": "none"}))
        return "ended with code 0"

    monkeypatch.setattr(arm_cells, "alone", alone)
    assert count_cell(CELL, tmp_path, "cortex-a77")["reason"] == "none"
    count_cell(CELL, tmp_path, "cortex-a77")
    assert made == [CELL.key]
    monkeypatch.setattr(arm_cells, "SOURCES", ())  # other code
    count_cell(CELL, tmp_path, "cortex-a77")
    assert len(made) == 2
    monkeypatch.setattr(arm_cells, "SOURCES", ("benchmarks",))
    monkeypatch.setattr(arm_cells, "alone", lambda *_: "was ended by signal 9")
    assert count_cell(CELL, tmp_path, "cortex-a77") == {
        "reason": "the process was ended by signal 9"
    }
    assert not list(tmp_path.rglob("cortex-a77.json"))  # it is tried again


@pytest.mark.full
@pytest.mark.parametrize("who", ["straight", "edgevit"])
@pytest.mark.parametrize("name", ["onnx", "litert", "executorch"])
def test_a_whole_cell(who: arm_cells.Who, name: str, tmp_path: Path) -> None:
    need("qemu-aarch64", "llvm-mca-19")
    for precision in ("fp32", "w8a8"):
        cell = Cell("vit-micro", (112, 112), name, precision, who)
        (tmp_path / precision).mkdir()
        outcome = tmp_path / precision / "outcome.json"
        make(cell, tmp_path, "cortex-a77", outcome, "state")
        found = json.loads(outcome.read_text())
        assert found["reason"] is None
        assert found["row"]["instructions"][0] > 1e6
        assert found["nearness"]["difference"] < (1e-4 if precision == "fp32" else 0.5)
        assert "hottest" in found["row"]["estimate"]
        assert "hottest" not in slim(found)["row"]["estimate"]
        assert list((tmp_path / precision).iterdir()) == [outcome]
