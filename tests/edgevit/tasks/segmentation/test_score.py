"""Confusion matrices and their mean IoU, by hand."""

import math

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.segmentation import score as module
from edgevit.tasks.segmentation.masks import class_shares
from edgevit.tasks.segmentation.score import confusion, mean_iou


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
