import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgevit.errors import PictureError, UsageError
from edgevit.tasks import segmentation as module
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.pixels.resize import bilinear
from edgevit.tasks.preprocessing import Content, Fit, Preprocessing, preprocess
from edgevit.tasks.segmentation import (
    class_shares,
    confusion,
    mean_iou,
    official_resize,
    preprocess_official,
    restore_mask,
)

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def spec(height: int, width: int, fit: Fit = "stretch") -> Preprocessing:
    return Preprocessing((height, width), MEAN, STD, fit)


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "short", "wanted"),
    [
        # 448 / 512 = 0.875: 683 * 0.875 = 597.625 -> 598 -> 608; 512 -> 448
        ((683, 512), 448, (608, 448)),
        # 512 / 512 = 1: 683 -> 704
        ((683, 512), 512, (704, 512)),
        # 512 / 480: 640 * 1.0667 = 682.67 -> 683 -> 704
        ((480, 640), 512, (512, 704)),
        # limited by the long side: 2048 / 4000 = 0.512; 500 * 0.512 = 256
        ((500, 4000), 512, (256, 2048)),
        # 2048 / 4096 = 0.5; 333 * 0.5 + 0.5 = 167 -> 192
        ((333, 4096), 512, (192, 2048)),
        # 512 / 100 = 5.12; 101 * 5.12 = 517.12 -> 517 -> 544
        ((100, 101), 512, (512, 544)),
        ((512, 512), 512, (512, 512)),
        ((1, 1), 448, (448, 448)),
    ],
)
def test_official_shapes_by_hand(
    size: tuple[int, int], short: int, wanted: tuple[int, int]
) -> None:
    prepared = preprocess_official(photo(*size), spec(short, short))
    assert prepared.tensor.shape == (1, 3, *wanted)
    assert prepared.content == Content(0, 0, *wanted)
    assert prepared.original_size == size


def test_official_pixels_are_two_opencv_resizes() -> None:
    image = photo(683, 512)
    first = cv2.resize(image, (448, 598), interpolation=cv2.INTER_LINEAR)
    second = cv2.resize(first, (448, 608), interpolation=cv2.INTER_LINEAR)
    wanted = (second.astype(np.float64) - MEAN) / STD
    tensor = preprocess_official(image, spec(448, 448)).tensor
    assert np.array_equal(tensor[0], wanted.astype(np.float32).transpose(2, 0, 1))


def test_official_refuses_a_thread_of_a_photo() -> None:
    with pytest.raises(PictureError, match="too thin"):
        preprocess_official(np.zeros((1, 5000, 3), np.uint8), spec(448, 448))


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_mask_returns_to_the_photo(fit: Fit) -> None:
    """Paint quadrants in the photo, find them in the network picture, and bring that mask back."""
    image = np.zeros((300, 500, 3), np.uint8)
    truth = np.zeros((300, 500), np.uint8)
    image[150:, :, 0], truth[150:] = 255, 1
    image[:, 250:, 1] = 255
    truth[:, 250:] += 2
    prepared = preprocess(image, Preprocessing((64, 96), (0, 0, 0), (255, 255, 255), fit))
    seen = (prepared.tensor[0, 0] > 0.5) + 2 * (prepared.tensor[0, 1] > 0.5)
    restored = restore_mask(seen.astype(np.uint8), prepared)
    assert restored.shape == truth.shape
    assert restored.dtype == np.uint8
    assert np.mean(restored == truth) > 0.98
    assert np.array_equal(restored[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 2, 1, 3])


def test_restore_by_hand_and_wrong_size() -> None:
    prepared = preprocess(photo(4, 4), spec(2, 2))
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    assert restore_mask(mask, prepared).tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2
    with pytest.raises(UsageError, match="3 x 2, but 2 x 2"):
        restore_mask(np.zeros((3, 2), np.uint8), prepared)


@pytest.mark.parametrize("values", [1 << 23, 3000])
@pytest.mark.parametrize(
    ("size", "network", "fit"),
    [
        ((150, 201), (64, 96), "stretch"),
        ((150, 201), (64, 96), "pad"),
        ((33, 20), (64, 96), "pad"),  # smaller than the network's picture
        ((64, 96), (64, 96), "stretch"),
        ((500, 40), (64, 64), "pad"),
    ],
)
def test_official_resize_is_two_resizes_and_argmax(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    network: tuple[int, int],
    fit: Fit,
    values: int,
) -> None:
    monkeypatch.setattr(module, "STRIP_VALUES", values)
    logits = np.random.default_rng(0).normal(0, 3, (11, network[0] // 8, network[1] // 8))
    logits = logits.astype(np.float32)
    prepared = preprocess(photo(*size), spec(*network, fit))
    box = prepared.content
    inner = bilinear(logits, network)[:, : box.height, : box.width]
    wanted = bilinear(np.ascontiguousarray(inner), size).argmax(0)
    assert np.array_equal(official_resize(logits[None], prepared), wanted)


def test_official_resize_differs_from_one_resize() -> None:
    """The two maps are not the same thing, which is why a flag chooses between them."""
    logits = np.random.default_rng(0).normal(0, 3, (5, 8, 8)).astype(np.float32)
    prepared = preprocess(photo(200, 200), spec(64, 64))
    agreement = np.mean(official_resize(logits, prepared) == exact_mask(logits, (200, 200)))
    assert 0.9 < agreement < 1


def test_official_resize_refuses_a_batch() -> None:
    prepared = preprocess(photo(20, 20), spec(64, 64))
    with pytest.raises(UsageError, match="Logits are float32"):
        official_resize(np.zeros((2, 3, 8, 8), np.float32), prepared)


def test_class_shares_are_sorted_and_leave_out_the_absent() -> None:
    mask = np.array([[0, 2, 2, 2], [0, 3, 2, 2]], np.uint8)
    shares = class_shares(mask, ["sky", "sea", "land", "boat"])
    assert list(shares.items()) == [("land", 0.625), ("sky", 0.25), ("boat", 0.125)]
    with pytest.raises(UsageError, match="no class of 3"):
        class_shares(mask, ["sky", "sea", "land"])
    with pytest.raises(UsageError, match="same name"):
        class_shares(mask, ["sky", "sea", "sky", "boat"])


def test_confusion_and_iou_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1], [1, 255, 3, 3]], np.int64)
    mask = np.array([[0, 1, 1, 1], [0, 2, 3, 0]], np.uint8)
    counts = confusion(mask, truth, 5)
    assert counts.tolist() == [
        [1, 1, 0, 0, 0],
        [1, 2, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
    ]
    mean, per_class = mean_iou(counts)
    # class 0: 1 / (2 + 3 - 1); class 1: 2 / (3 + 3 - 2); class 3: 1 / (2 + 1 - 1); 2 and 4 are
    # nowhere
    np.testing.assert_array_equal(per_class, [0.25, 0.5, np.nan, 0.5, np.nan])
    assert mean == pytest.approx(1.25 / 3)


def test_confusion_counts_every_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth, mask = rng.integers(0, 6, (2, 40, 50)).astype(np.uint8)
    whole = confusion(mask, truth, 6)
    monkeypatch.setattr(module, "STRIP_PIXELS", 77)
    assert np.array_equal(confusion(mask, truth, 6), whole)
    assert whole.sum() == mask.size
    assert sum(class_shares(mask, list("abcdef")).values()) == pytest.approx(1)


def test_a_class_only_predicted_counts_as_zero() -> None:
    truth, mask = np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8)
    mean, per_class = mean_iou(confusion(mask, truth, 2))
    assert per_class.tolist() == [0.75, 0.0]
    assert mean == 0.375


def test_the_mean_of_nothing_is_nan() -> None:
    truth = np.full((2, 2), 255, np.uint8)
    mean, per_class = mean_iou(confusion(np.zeros((2, 2), np.uint8), truth, 3))
    assert math.isnan(mean)
    assert np.isnan(per_class).all()


def test_confusion_refuses_other_shapes_and_labels() -> None:
    zeros = np.zeros((2, 2), np.uint8)
    with pytest.raises(UsageError, match="2 x 2, but 2 x 3"):
        confusion(zeros, np.zeros((2, 3), np.uint8), 3)
    with pytest.raises(UsageError, match="truth holds labels from 7"):
        confusion(zeros, zeros + np.uint8(7), 3)
    with pytest.raises(UsageError, match="mask holds labels from 3"):
        confusion(zeros + np.uint8(3), zeros, 3)
