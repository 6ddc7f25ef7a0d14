"""scene150: what the demo network finds in a scene is found among 150 classes."""

from pathlib import Path

import numpy as np
import torch

from benchmarks.scene150 import BELOW, CLASSES, MODEL, scene150, write_checkpoint
from edgevit import create_model
from edgevit.data import scenes
from edgevit.tasks.preprocessing import Preprocessing, normalized
from edgevit.weights import demo_weights
from tests.support.maps import piecewise_smooth


def test_a_scene_among_150_classes_keeps_its_winners() -> None:
    logits = piecewise_smooth(10, 56)
    placed = scene150(logits, 3)
    assert placed.shape == (CLASSES, 56, 56)
    channels = np.random.default_rng(3).permutation(CLASSES)[:10]
    assert np.array_equal(placed[channels], logits)
    assert np.array_equal(placed.argmax(0), channels[logits.argmax(0)])
    below = placed.max(0) - np.delete(placed, channels, axis=0)
    assert below.min() > 3.999
    assert below.max() < 8.001
    assert np.array_equal(placed, scene150(logits, 3))
    assert not np.array_equal(placed, scene150(logits, 4))


def test_the_checkpoint_finds_what_the_demo_weights_find(tmp_path: Path) -> None:
    path = tmp_path / "scene150.safetensors"
    write_checkpoint(path, seed=3)
    demo = demo_weights(MODEL)
    assert demo is not None
    picture = scenes.scene(scenes.HELD_OUT_SEEDS[0], 64, 64).image
    spec = Preprocessing((64, 64), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    given = torch.from_numpy(normalized(picture, spec))
    with torch.no_grad():
        few = create_model(MODEL, demo.path, input_size=(64, 64))(given)[0].numpy()
        many = create_model(MODEL, path, input_size=(64, 64))(given)[0].numpy()
    assert many.shape == (CLASSES, *few.shape[1:])
    channels = np.random.default_rng(3).permutation(CLASSES)[: len(few)]
    assert np.allclose(many[channels], few, atol=1e-4)
    assert np.array_equal(many.argmax(0), channels[few.argmax(0)])
    others = np.delete(many, channels, axis=0)
    assert np.all(others <= few.mean(0) - BELOW[0] + 1e-3)
