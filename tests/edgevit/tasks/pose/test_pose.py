"""Pose: the official decoding of stored heatmaps, boxes to inputs, the flip test, the manifest."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.pose.heatmaps import find_peaks, refine_dark, refine_quarter
from edgevit.tasks.pose.pose import (
    Pose,
    average_mirrored,
    decode_batch,
    decode_heatmaps,
    mirror,
    to_photo,
)
from edgevit.tasks.pose.skeletons import COCO, SKELETONS
from edgevit.tasks.preprocessing import (
    Content,
    Prepared,
    Preprocessing,
    Region,
    box_region,
    preprocess,
)

OFFICIAL = np.load(Path(__file__).resolve().parents[3] / "parity" / "vitpose_decode_udp.npz")
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SPEC = Preprocessing((256, 192), MEAN, STD, "box")
FULL = (256, 192)


def prepared(center, extent, udp=True):
    tensor = np.zeros((1, 3, *FULL), np.float32)
    return Prepared(tensor, (480, 640), Content(0, 0, *FULL), Region(center, extent, udp))


def official():
    """What each stored box was prepared to."""
    return [prepared(*box_region(tuple(box), FULL)) for box in OFFICIAL["boxes_xywh"].tolist()]


def photo(height=480, width=640, seed=0):
    """Smooth colors with some texture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    fine = rng.integers(-10, 10, (height, width, 3))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def test_official_boxes():
    for one, center, scale in zip(official(), OFFICIAL["centers"], OFFICIAL["scales"], strict=True):
        assert np.abs(np.array(one.region.center) - center).max() < 1e-4
        assert np.abs(np.array(one.region.extent) - 200 * scale).max() < 1e-3


def test_official_peaks():
    points, scores = find_peaks(OFFICIAL["heatmaps"])
    assert np.array_equal(points, OFFICIAL["argmax"])
    assert np.array_equal(scores, OFFICIAL["maxvals"][..., 0])
    assert (points == -1).any()  # an absent keypoint is among them


def test_official_dark_in_the_heatmap():
    heatmaps = OFFICIAL["heatmaps"].copy()
    found = refine_dark(heatmaps, OFFICIAL["argmax"])
    assert np.abs(found - OFFICIAL["dark"]).max() < 1e-4
    assert np.array_equal(heatmaps, OFFICIAL["heatmaps"])


def test_official_keypoints_in_the_photo():
    poses = decode_batch(OFFICIAL["heatmaps"], official())
    for pose, wanted, scores in zip(poses, OFFICIAL["preds"], OFFICIAL["maxvals"], strict=True):
        assert np.abs(pose.points - wanted).max() < 1e-3
        assert np.array_equal(pose.scores, scores[:, 0])


def test_one_person_alone_is_decoded_as_in_a_batch():
    everyone = decode_batch(OFFICIAL["heatmaps"], official())
    for n, one in enumerate(official()):
        present = OFFICIAL["maxvals"][n, :, 0] > 0
        for maps in (OFFICIAL["heatmaps"][n], OFFICIAL["heatmaps"][n : n + 1]):
            alone = decode_heatmaps(maps, one)
            assert np.array_equal(alone.points[present], everyone[n].points[present])


def test_dark_finds_the_center_of_a_gaussian_between_pixels():
    y, x = np.mgrid[:64, :48].astype(np.float64)
    centers = np.array([[10.3, 20.8], [40.49, 5.51], [24.0, 32.0]])
    maps = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 8) for a, b in centers]
    heatmaps = np.array(maps, np.float32)[None]
    points, _ = find_peaks(heatmaps)
    assert np.abs(refine_dark(heatmaps, points)[0] - centers).max() < 0.02


def test_a_flat_map_takes_no_step():
    heatmaps = np.full((1, 2, 64, 48), 0.5, np.float32)
    points, _ = find_peaks(heatmaps)
    assert np.array_equal(points, np.zeros((1, 2, 2)))
    assert np.abs(refine_dark(heatmaps, points)).max() < 1e-3


def test_maps_smaller_than_the_blur_are_decoded():
    heatmaps = np.random.default_rng(0).random((1, 17, 4, 3), np.float32)
    pose = decode_heatmaps(heatmaps, prepared((50.0, 50.0), (60.0, 80.0)))
    assert np.isfinite(pose.points).all()


def quarter_by_hand(heatmap, x, y):
    """mmpose's loop, restated."""
    height, width = heatmap.shape
    px, py = float(x), float(y)
    if 1 < x < width - 1 and 1 < y < height - 1:
        px += 0.25 * np.sign(heatmap[y][x + 1] - heatmap[y][x - 1])
        py += 0.25 * np.sign(heatmap[y + 1][x] - heatmap[y - 1][x])
    return px, py


def test_the_default_decoder_against_its_definition():
    rng = np.random.default_rng(1)
    heatmaps = rng.standard_normal((4, 40, 9, 8)).astype(np.float32)
    heatmaps[0, 0] -= 100  # absent
    points, _ = find_peaks(heatmaps)
    found = refine_quarter(heatmaps, points)
    for n in range(4):
        for k in range(40):
            x, y = points[n, k].astype(int)
            assert tuple(found[n, k]) == quarter_by_hand(heatmaps[n, k], x, y)
    moved = np.abs(found - points) == 0.25
    assert moved.any()
    assert not moved[0, 0].any()


@pytest.mark.parametrize("udp", [True, False])
def test_decoders_and_the_way_back(udp):
    one = prepared((90.5, 206.75), (312.1875, 416.25), udp)
    heatmaps = OFFICIAL["heatmaps"][:1]
    points, _ = find_peaks(heatmaps)
    refined = {"dark": refine_dark, "default": refine_quarter}
    for name, refine in refined.items():
        pose = decode_heatmaps(heatmaps, one, name)
        spans = np.array([47, 63]) if udp else np.array([48, 64])
        region = one.region
        want = refine(heatmaps, points)[0] * (region.extent / spans) + region.center
        assert np.allclose(pose.points, want - np.array(region.extent) / 2, atol=1e-4)
    chosen = "dark" if udp else "default"
    assert np.array_equal(
        decode_heatmaps(heatmaps, one).points, decode_heatmaps(heatmaps, one, chosen).points
    )


def test_the_corners_of_a_udp_region_are_the_corner_pixels():
    one = prepared((100.0, 80.0), (60.0, 80.0))
    corners = np.array([[0, 0], [47, 63], [23.5, 31.5]], np.float32)
    assert np.allclose(to_photo(corners, one.region, (64, 48)), [[70, 40], [130, 120], [100, 80]])


@pytest.mark.parametrize("udp", [True, False])
@pytest.mark.parametrize(
    "box", [(100, 50, 120, 333), (-5, 100, 60, 80), (560, 400, 220, 150), (10, 10, 5, 5), None]
)
def test_preprocessing_against_opencv(udp, box):
    image = photo()
    spec = Preprocessing(FULL, MEAN, STD, "box", udp=udp)
    got = preprocess(image, spec, box)
    x, y, w, h = box or (0, 0, 640, 480)
    # mmpose's own steps, restated: center, scale in units of 200 px, matrix, warp, ToTensor.
    center = np.array([x + w * 0.5, y + h * 0.5], np.float32)
    if w > 0.75 * h:
        h = w / 0.75
    elif w < 0.75 * h:
        w = h * 0.75
    scale = np.array([w / 200, h / 200], np.float32) * np.float32(1.25)
    if udp:
        factor = np.array([191, 255]) / (200 * scale)
        shift = factor * (-center + 0.5 * 200 * scale)
    else:
        factor = np.array([192, 256]) / (200 * scale)
        shift = np.array([96, 128]) - factor * center
    matrix = np.array([[factor[0], 0, shift[0]], [0, factor[1], shift[1]]], np.float32)
    warped = cv2.warpAffine(image, matrix, (192, 256), flags=cv2.INTER_LINEAR)
    want = (warped / 255.0 - np.array(MEAN) / 255) / (np.array(STD) / 255)
    levels = np.abs(got.tensor[0].transpose(1, 2, 0) - want) * np.array(STD)
    assert got.tensor.shape == (1, 3, 256, 192)
    assert levels.mean() < 0.05  # of 255; the bound to keep is 1
    assert levels.max() < 2
    assert got.original_size == (480, 640)


def test_keypoints_come_back_to_where_the_box_had_them():
    """A dot in the photo, through the warp, a heatmap of its place, and back."""
    image = np.zeros((300, 400, 3), np.uint8)
    x, y = 215, 120
    image[y - 2 : y + 3, x - 2 : x + 3] = 255
    one = preprocess(image, SPEC, (150.0, 60.0, 130.0, 170.0))
    bright = one.tensor[0, 0] - one.tensor[0, 0].min()
    rows, columns = np.mgrid[:256, :192]
    spot = (bright * columns).sum() / bright.sum(), (bright * rows).sum() / bright.sum()
    at = np.array(spot) * [47 / 191, 63 / 255]  # from input to heatmap, corners on corners
    grid_y, grid_x = np.mgrid[:64, :48]
    heatmap = np.exp(-((grid_x - at[0]) ** 2 + (grid_y - at[1]) ** 2) / 8).astype(np.float32)
    pose = decode_heatmaps(heatmap[None], one)
    assert np.abs(pose.points[0] - (x, y)).max() < 0.1


def test_the_flip_test_is_exact_for_a_mirroring_network():
    rng = np.random.default_rng(3)
    plain = rng.random((1, 17, 64, 48), np.float32)
    swapped = plain.copy()
    for left, right in ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)):
        swapped[:, [left, right]] = plain[:, [right, left]]
    mirrored = mirror(swapped)
    assert np.array_equal(average_mirrored(plain, mirrored, COCO), plain)
    half = average_mirrored(plain, np.zeros_like(plain), COCO)
    assert np.array_equal(half, plain * np.float32(0.5))
    assert mirror(plain).flags.c_contiguous


@pytest.mark.parametrize("name", SKELETONS)
def test_mirroring_twice_is_nothing(name):
    order = SKELETONS[name].mirrored
    assert [order[order[k]] for k in range(len(order))] == list(range(len(order)))


@pytest.mark.parametrize(
    ("box", "match"),
    [
        ((0, 0, 0, 10), "above 0"),
        ((0, 0, 10, -1), "above 0"),
        ((math.nan, 0, 1, 1), "finite"),
        ((0, 0, math.inf, 1), "finite"),
        ((1e9, 0, 1, 1), "finite"),
    ],
)
def test_an_impossible_box_is_refused(box, match):
    with pytest.raises(UsageError, match=match):
        preprocess(photo(), SPEC, box)


def test_wrong_heatmaps_are_refused():
    one = prepared((1.0, 1.0), (2.0, 2.0))
    maps = np.zeros((1, 17, 8, 8), np.float32)
    with pytest.raises(UsageError, match="float32"):
        decode_heatmaps(maps.astype(np.float64), one)
    with pytest.raises(UsageError, match="one box at a time"):
        decode_heatmaps(np.repeat(maps, 2, 0), one)
    with pytest.raises(UsageError, match="no decoder 'taylor'"):
        decode_heatmaps(maps, one, "taylor")
    whole = preprocess(photo(), Preprocessing(FULL, MEAN, STD))
    with pytest.raises(UsageError, match="through the box"):
        decode_heatmaps(maps, whole)
    with pytest.raises(UsageError, match="1 heatmaps, but 2 boxes"):
        decode_batch(maps, [one, one])
    with pytest.raises(UsageError, match="two equal maps"):
        average_mirrored(maps, maps[:, :5], COCO)
    with pytest.raises(UsageError, match="skeleton of 17"):
        average_mirrored(maps[:, :5], maps[:, :5], COCO)


def test_a_pose_as_json():
    pose = Pose(np.arange(34, dtype=np.float32).reshape(17, 2), np.full(17, 0.51234, np.float32))
    rows = json.loads(json.dumps(pose.to_json(COCO)))
    assert rows[0] == {"name": "nose", "x": 0.0, "y": 1.0, "score": 0.5123}
    assert pose.keypoints.shape == (17, 3)
    with pytest.raises(UsageError, match="17 keypoints, the skeleton 14"):
        pose.to_json(SKELETONS["aic"])
