"""Our own weights and their cards."""

import pytest
import torch

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.create import create_model
from edgevit.data import scenes
from edgevit.models.zoo import MODELS
from edgevit.weights import HERE, demo_weights

SHIPPED = [name for name in MODELS if demo_weights(name) is not None]


def test_every_file_belongs_to_a_model_and_has_a_card():
    files = {path.name for path in HERE.glob("*") if path.suffix in (".safetensors", ".json")}
    assert files == {f"{name}{suffix}" for name in SHIPPED for suffix in (".safetensors", ".json")}
    assert "topformer-t" in SHIPPED


def test_there_are_none_for_the_others():
    assert demo_weights("topformer-b") is None
    assert demo_weights("no-such-model") is None


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_small_half_precision_and_fit(name):
    demo = demo_weights(name)
    assert demo.path.stat().st_size < 3_000_000
    checkpoint = read_checkpoint(demo.path)
    floats = [t for t in checkpoint.tensors.values() if t.is_floating_point()]
    assert {t.dtype for t in floats} == {torch.float16}
    network = create_model(name, weights=demo.path, input_size=(64, 64))
    assert network.config.num_classes == len(demo.labels)


@pytest.mark.parametrize("name", SHIPPED)
def test_labels_are_the_scenes_classes(name):
    assert demo_weights(name).labels == tuple(scenes.CLASSES)
    assert 0 <= demo_weights(name).card["miou"] <= 1
