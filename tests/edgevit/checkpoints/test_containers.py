"""Which of a file's dictionaries is the network, and what lies beside it."""

import pytest
import torch

from edgevit.checkpoints import read_checkpoint
from edgevit.errors import CheckpointError

EMA = ("state_dict_ema", "state_dict", "model")


def tensors(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2,), value)}


CHOICES = {
    "bare": (tensors(1), None, "", 1),
    "state_dict": ({"state_dict": tensors(1), "model": tensors(2)}, None, "state_dict", 1),
    "model": ({"model": tensors(2), "epoch": 3}, None, "model", 2),
    "ema first": (
        {"state_dict": tensors(1), "state_dict_ema": tensors(2)},
        EMA,
        "state_dict_ema",
        2,
    ),
    "ema ignored": (
        {"state_dict": tensors(1), "state_dict_ema": tensors(2)},
        None,
        "state_dict",
        1,
    ),
    "ema absent": ({"state_dict": tensors(1), "state_dict_ema": None}, EMA, "state_dict", 1),
    "ema empty": ({"state_dict": tensors(1), "state_dict_ema": {}}, EMA, "state_dict", 1),
    "nested": ({"model": {"state_dict": tensors(3), "x": 1}}, None, "model.state_dict", 3),
    "name beside": ({"model": "topformer", "state_dict": tensors(1)}, None, "state_dict", 1),
    "own key": ({"model_state": tensors(4), "model": "x"}, ("model_state",), "model_state", 4),
    "random state beside": ({"rng": torch.zeros(5), "model": tensors(2)}, None, "model", 2),
    "numbers between": ({"w": torch.full((2,), 5.0), "epoch": 3}, None, "", 5),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", CHOICES)
def test_choice(tmp_path, name, zipped):
    content, prefer, container, value = CHOICES[name]
    path = tmp_path / "x.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(path, prefer) if prefer else read_checkpoint(path)
    assert read.container == container
    assert list(read.tensors) == ["w"]
    assert read.tensors["w"].tolist() == [value, value]


REFUSED = {
    "unknown container": (
        {"net": tensors(1), "optimizer": {"m": torch.ones(1)}},
        "no tensors under state_dict or model; it has net (1 tensors) and optimizer (1 tensors)",
    ),
    "several beside a tensor": (
        {"net": tensors(1), "rng": torch.ones(1)},
        "no tensors under state_dict or model; it has net (1 tensors)",
    ),
    "nothing": ({}, "it is empty inside"),
    "a list": ([torch.ones(1)], "no dictionary of tensors at its top"),
    "a tensor": (torch.ones(1), "no dictionary of tensors at its top"),
    "numbered": ({"state_dict": {0: torch.ones(1)}}, "under '0', which is not a parameter name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_says_what_is_there(tmp_path, name):
    content, wanted = REFUSED[name]
    path = tmp_path / "x.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert wanted in caught.value.message


def test_meta_is_small_plain_and_bounded(tmp_path):
    path = tmp_path / "x.pth"
    deep: list[object] = []
    for _ in range(50):
        deep = [deep]
    wide: list[object] = ["x"]
    for _ in range(7):  # 20 ** 7 values if followed
        wide = [wide] * 20
    looped: list[object] = []
    looped.append(looped)
    content = {
        "model": tensors(1),
        "meta": {"CLASSES": ("a",), "epoch": 1},
        "epoch": 2,
        "nested": {"loss": [0.5, None, True], "raw": b"x"},
        "deep": deep,
        "wide": wide,
        "looped": looped,
        "long": "x" * (5 << 20),
        "with tensor": {"m": torch.ones(1)},
    }
    torch.save(content, path)
    meta = read_checkpoint(path).meta
    assert meta == {
        "CLASSES": ("a",),
        "epoch": 1,
        "nested": {"loss": (0.5, None, True), "raw": b"x"},
    }
    with pytest.raises(TypeError):
        meta["epoch"] = 5
