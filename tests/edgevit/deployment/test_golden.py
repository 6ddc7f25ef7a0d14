"""The golden picture of each task: its input is made of it, as a reader would make it."""

import numpy as np
import pytest

from edgevit.data import scenes
from edgevit.deployment.golden import CLIP_SEED, GOLDEN_SEED, golden_picture
from edgevit.networks.zoo import MODELS, preprocessing_of
from edgevit.tasks.preprocessing import Preprocessing, preprocess, preprocess_clip

TASKS = ("segmentation", "classification", "features", "pose")


def spec_of(task: str, size: tuple[int, ...]) -> Preprocessing:
    card = next(card for card in MODELS.values() if card.task == task)
    return preprocessing_of(card.preparation, size)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_the_input_is_made_of_the_picture(task: str, size: tuple[int, int]) -> None:
    spec = spec_of(task, size)
    picture, tensor = golden_picture(task, spec)
    assert tensor.shape == (1, 3, *size)
    assert np.array_equal(tensor, preprocess(picture, spec).tensor)
    again, _ = golden_picture(task, spec)
    assert np.array_equal(again, picture)


def test_a_scene_has_the_networks_size() -> None:
    picture, _ = golden_picture("segmentation", spec_of("segmentation", (96, 128)))
    assert np.array_equal(picture, scenes.scene(GOLDEN_SEED, 96, 128).image)


@pytest.mark.parametrize("frames", [1, 2, 8, 64, 70])
def test_a_clip_is_one_picture_of_its_frames(frames: int) -> None:
    spec = preprocessing_of("drawn-video", (frames, 64, 96))
    picture, tensor = golden_picture("video", spec)
    assert picture.shape == (frames * 64, 96, 3)
    parts = list(picture.reshape(frames, 64, 96, 3))
    assert np.array_equal(tensor, preprocess_clip(parts, spec).tensor)
    drawn = scenes.clip(CLIP_SEED, min(max(frames, 2), 64), 64, 96).frames
    assert np.array_equal(parts[0], drawn[0])
    if 2 <= frames <= 64:
        assert np.array_equal(np.stack(parts), drawn)


def test_a_figure_fills_its_picture() -> None:
    picture, _ = golden_picture("pose", spec_of("pose", (256, 192)))
    assert min(picture.shape[:2]) >= 100
    found = [scenes.scene(seed, 512, 512) for seed in scenes.POSE_SEEDS[:20]]
    cut = [
        one.image[int(top) : int(bottom), int(left) : int(right)]
        for one in found
        for left, top, right, bottom in one.boxes
    ]
    assert any(part.shape == picture.shape and np.array_equal(part, picture) for part in cut)
