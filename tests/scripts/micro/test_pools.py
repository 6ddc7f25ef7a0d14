"""Pools of drawn scenes: what a batch holds is true of its pictures, mirrored or not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from edgevit.data import scenes
from edgevit.networks.zoo import preprocessing_of
from edgevit.tasks.preprocessing import preprocess
from scripts.micro import pools
from scripts.micro.pools import Pool, batch, cut_person, normalize, pool
from scripts.micro.recipes import Stage

STAGE = Stage(batch=4, steps=1, lr=1e-3, lr_end=1e-4)
DRAWN = preprocessing_of("drawn", (64, 64))


@pytest.fixture
def plain(monkeypatch):
    """Batches without the change of colors."""
    same = (np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32))
    monkeypatch.setattr(
        pools, "recoloring", lambda rng, count: [np.repeat(v, count, axis=0) for v in same]
    )


def test_a_pool_is_drawn_once(tmp_path, monkeypatch):
    first = pool("classification", (64, 64), 3, tmp_path)
    monkeypatch.setattr(scenes, "scene", None)
    again = pool("segmentation", (64, 64), 3, tmp_path)
    assert len(first) == 3
    assert np.array_equal(first.images, again.images)
    drawn = [scenes.__dict__["CLASSES"][1 + label] for label in first.labels]
    assert set(drawn) <= set(scenes.CLASSES[1:])


def test_an_interrupted_pool_is_drawn_again(tmp_path):
    pool("video", (2, 64, 64), 2, tmp_path)
    (folder,) = tmp_path.iterdir()
    (folder / "done").unlink()
    np.save(folder / "labels.npy", np.zeros(1))
    assert len(pool("video", (2, 64, 64), 2, tmp_path).labels) == 2


@pytest.mark.usefixtures("plain")
def test_a_batch_is_normalized_as_the_bundle_does_it(tmp_path):
    source = pool("classification", (64, 64), 4, tmp_path)
    found = batch(source, 0, STAGE, DRAWN)
    wanted = [preprocess(image, DRAWN).tensor for image in source.images]
    for image in found.images.numpy():
        either = (image, image[..., ::-1])
        assert any(np.abs(w[0] - e).max() < 1e-5 for w in wanted for e in either)


def test_every_sample_comes_once_before_any_comes_again():
    source = Pool("classification", np.zeros((6, 64, 64, 3), np.uint8), np.arange(6))
    seen = torch.cat(
        [batch(source, first, replace(STAGE, batch=3), DRAWN).labels for first in range(0, 12, 3)]
    )
    assert sorted(seen[:6].tolist()) == sorted(seen[6:].tolist()) == list(range(6))
    assert seen[:6].tolist() != seen[6:].tolist()


def test_batches_repeat():
    source = Pool("classification", np.full((6, 64, 64, 3), 99, np.uint8), np.arange(6))
    one, two = (batch(source, 5, STAGE, DRAWN) for _ in range(2))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.labels, two.labels)


@pytest.mark.usefixtures("plain")
def test_mirrored_people_keep_left_and_right(tmp_path):
    source = pool("pose", (128, 96), 12, tmp_path)
    spec = preprocessing_of("pose", (128, 96))
    found = batch(source, 0, replace(STAGE, batch=len(source)), spec)
    both = normalize(torch.from_numpy(source.images), spec)
    mirrored = 0
    for image, points in zip(found.images, found.points, strict=True):
        hits = [i for i, row in enumerate(both) if torch.equal(row, image)]
        if hits:
            assert any(np.array_equal(source.points[i], points.numpy()) for i in hits)
            continue
        (index,) = (i for i, row in enumerate(both) if torch.equal(row.flip(-1), image))
        true = source.points[index]
        assert points[5].numpy() == pytest.approx([23 - true[6, 0], true[6, 1], true[6, 2]])
        mirrored += 1
    assert 0 < mirrored < len(source)


def test_labels_of_mirrored_and_reversed_clips():
    names = scenes.MOTIONS
    for table in (pools.MIRRORED, pools.REVERSED):
        assert [table[table[i]] for i in range(9)] == list(range(9))
        assert table[names.index("still")] == names.index("still")
    assert names[pools.MIRRORED[names.index("left")]] == "right"
    assert names[pools.MIRRORED[names.index("up")]] == "up"
    assert names[pools.REVERSED[names.index("up")]] == "down"
    assert names[pools.REVERSED[names.index("grow")]] == "shrink"


def test_a_person_is_cut_out_where_the_keypoints_are():
    seed = next(s for s in scenes.TRAIN_SEEDS if len(scenes.scene(s, 128, 128).boxes))
    drawn = scenes.scene(seed, 128, 128)
    image = drawn.image.copy()
    joints = drawn.keypoints[0]
    seen = int(np.flatnonzero(joints[:, 2] > 0)[0])
    x, y = joints[seen, :2].round().astype(int)
    image[:] = 0
    image[y, x] = 255
    crop, moved = cut_person(image, joints, drawn.boxes[0], (128, 96))
    at = np.unravel_index(crop[..., 0].argmax(), crop.shape[:2])
    assert np.abs(moved[seen, :2] * (95 / 23, 127 / 31) - (at[1], at[0])).max() < 3


def test_smaller_pictures_are_averages(tmp_path):
    source = Pool("video", np.zeros((4, 2, 64, 64, 3), np.uint8), np.zeros(4, np.int64))
    spec = preprocessing_of("drawn-video", (2, 64, 64))
    assert batch(source, 0, replace(STAGE, shrink=2), spec).images.shape == (4, 3, 2, 32, 32)
