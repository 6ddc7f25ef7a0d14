"""Drawn scenes: their truth, and who may be scored on them."""

from dataclasses import replace

import numpy as np
import pytest

from edgevit.data import scenes
from edgevit.errors import UsageError
from edgevit.evaluation.data.drawn import DRAWN, POSE_SIDE, drawn_pictures, drawn_scenes
from edgevit.evaluation.subject import inputs_of
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject

STILL = Preprocessing((64, 96), (0.0,) * 3, (1.0,) * 3)
SPECS = {"pose": replace(STILL, fit="box"), "video": replace(STILL, frames=3)}


def subject(task, labels=None):
    return Subject(task, DRAWN[task].labels if labels is None else labels, SPECS.get(task, STILL))


@pytest.mark.parametrize("task", DRAWN)
def test_no_training_and_no_calibration_sees_the_seeds(task):
    seeds = DRAWN[task].seeds
    for others in (scenes.TRAIN_SEEDS, scenes.CALIBRATION_SEEDS):
        assert seeds[-1] < others[0] or seeds[0] > others[-1]
    data = drawn_scenes(subject(task), "any")
    assert len(data) == len(seeds)
    kind = "clips" if task == "video" else "scenes"
    assert data.first(7).name == f"drawn {kind} {seeds[0]}-{seeds[6]}"


def test_classification_has_the_largest_things_class():
    sample = drawn_scenes(subject("classification"), "vit-micro").open(3)
    drawn = scenes.scene(scenes.CLASSIFICATION_SEEDS[3], 64, 96)
    assert sample.label == drawn.label - 1
    assert scenes.CLASSES[1:][sample.label] == scenes.CLASSES[drawn.label]
    assert np.array_equal(sample.frames[0], drawn.image)


@pytest.mark.parametrize(
    ("model", "seeds"),
    [
        ("topformer-t", scenes.HELD_OUT_SEEDS),
        ("vit-adapter-micro-upernet", scenes.SEGMENTATION_SEEDS),
    ],
)
def test_segmentation_has_the_exact_mask_of_the_cards_seeds(model, seeds):
    sample = drawn_scenes(subject("segmentation"), model).open(1)
    assert np.array_equal(sample.mask, scenes.scene(seeds[1], 64, 96).mask)


def test_pose_has_every_figure_of_a_large_scene():
    data = drawn_scenes(subject("pose"), "vitpose-micro")
    for index in range(4):
        sample = data.open(index)
        drawn = scenes.scene(scenes.POSE_SEEDS[index], POSE_SIDE, POSE_SIDE)
        assert len(sample.boxes) == len(sample.joints) == len(drawn.boxes)
        for box, (left, top, right, bottom) in zip(sample.boxes, drawn.boxes, strict=True):
            assert box == (left, top, right - left, bottom - top)
        assert len(inputs_of(subject("pose"), sample)) == len(drawn.boxes)


def test_video_has_the_motion():
    sample = drawn_scenes(subject("video"), "mvitv2-micro-video").open(2)
    drawn = scenes.clip(scenes.VIDEO_SEEDS[2], 3, 64, 96)
    assert sample.label == drawn.label
    assert np.array_equal(np.stack(sample.frames), drawn.frames)
    (prepared,) = inputs_of(subject("video"), sample)
    assert prepared.tensor.shape == (1, 3, 3, 64, 96)


def test_backbones_have_no_truth():
    assert not drawn_scenes(subject("features"), "topformer-t-features").labeled


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("classification", ("cat", "dog")),
        ("classification", scenes.CLASSES),
        ("segmentation", scenes.CLASSES[1:]),
        ("video", ("up", "down")),
        ("pose", COCO.names[:5]),
    ],
)
def test_other_networks_are_refused_and_may_agree(task, labels):
    other = subject(task, labels)
    with pytest.raises(UsageError, match="was not trained on drawn scenes") as refused:
        drawn_scenes(other, "vit-base-16")
    assert "--data FOLDER" in refused.value.next
    assert not drawn_pictures(other).labeled
    assert drawn_pictures(other).open(0).frames


def test_the_identity_is_of_the_size_too():
    small = drawn_scenes(subject("segmentation"), "topformer-t")
    large = Subject("segmentation", scenes.CLASSES, replace(STILL, size=(128, 96)))
    assert small.identity != drawn_scenes(large, "topformer-t").identity
