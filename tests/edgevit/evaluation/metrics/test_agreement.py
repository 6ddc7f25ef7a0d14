"""Agreement with fp32, against values worked out by hand."""

import json
import math

import numpy as np
import pytest

from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.metrics.agreement import AGREEMENTS, agreement_of
from edgevit.evaluation.metrics.labeled import METRICS
from edgevit.tasks.classification.task import Scores
from edgevit.tasks.features.maps import FeatureMap
from edgevit.tasks.features.task import Maps
from edgevit.tasks.pose.pose import Pose
from edgevit.tasks.segmentation.task import Masks

BOX = Sample("s", (), boxes=((0.0, 0.0, 40.0, 100.0),))


def pose(*rows):
    """A pose of x, y and score a keypoint."""
    values = np.array(rows, np.float32)
    return [Pose(values[:, :2], values[:, 2])]


def maps(*values):
    shaped = (np.array(value, np.float32).reshape(1, 1, -1) for value in values)
    return [Maps(tuple(FeatureMap("p", value) for value in shaped), np.zeros(0, np.float32))]


def masks(*rows):
    mask = np.array(rows, np.uint8)
    return [Masks(mask, mask)]


def sure(label):
    """Scores of one class that no other comes near."""
    return [Scores(np.eye(3, dtype=np.float32)[label])]


WANTED = pose((0, 0, 0.9), (10, 10, 0.1), (20, 20, 0.5), (-1, -1, 0.0))
# Task -> pairs of what a file finds and what fp32 does, and their agreement.
CASES = {
    "classification": ([(sure(c), sure(w)) for c, w in ((1, 1), (0, 2))], 0.5),
    "video": ([(sure(c), sure(w)) for c, w in ((1, 1), (2, 2))], 1.0),
    # Class 0: 2 of 3, class 1: 1 of 2; class 2 is nowhere.
    "segmentation": ([(masks([0, 0, 1, 1]), masks([0, 0, 0, 1]))], (2 / 3 + 1 / 2) / 2),
    # Five px of a side of 100 px are within 5 %, more are not; fp32 has no fourth keypoint; and a
    # keypoint that the file does not find counts as one that is elsewhere.
    "pose": (
        [
            (pose((0, 5, 1), (10, 15.1, 1), (20, 20, 1), (0, 0, 1)), WANTED),
            (pose((0, 0, 1), (10, 10, 1), (20, 20, 0), (0, 0, 1)), WANTED),
        ],
        4 / 6,
    ),
    # The worst map of a picture counts: 0 of the first, 1 of the second.
    "features": (
        [
            (maps([1, 0], [0, 1]), maps([2, 0], [1, 0])),
            (maps([3, 4], [1, 1]), maps([3, 4], [2, 2])),
        ],
        0.5,
    ),
}


@pytest.mark.parametrize(
    ("logits", "found", "hit"),
    [
        ((1.0, 0.95, 0.0), 1, 1),  # fp32 itself hardly prefers 0
        ((1.0, 0.85, 0.0), 1, 0),
        ((1.0, 0.95, 0.0), 2, 0),
        ((1.0, 0.95, 0.0), 0, 1),
    ],
)
def test_a_class_that_fp32_holds_for_as_likely_agrees(subjects, logits, found, hit):
    wanted = [Scores(np.array(logits, np.float32))]
    tally = filled("classification", subjects, [(sure(found), wanted)])
    assert tally.value() == hit


@pytest.mark.parametrize(("second", "hit"), [(0.96, 1), (0.9, 0)])
def test_a_peak_that_is_as_high_in_fp32_agrees(subjects, second, hit):
    want, got = np.zeros((1, 4, 3), np.float32), np.zeros((1, 4, 3), np.float32)
    want[0, 0, 0], want[0, 3, 2], got[0, 3, 2] = 1.0, second, 1.0

    def told(x, y, heat):
        return [Pose(np.array([[x, y]], np.float32), np.ones(1), heat)]

    tally = filled("pose", subjects, [(told(30, 90, got), told(0, 0, want))])
    assert tally.value() == hit


def filled(task, subjects, pairs=None):
    tally = agreement_of(subjects[task])
    for found, wanted in CASES[task][0] if pairs is None else pairs:
        tally.add(BOX, found, wanted)
    return tally


def test_every_task_has_one():
    assert set(CASES) == set(AGREEMENTS)
    assert not set(AGREEMENTS.values()) & set(METRICS)


@pytest.mark.parametrize("task", CASES)
def test_agreement_is_what_the_hand_says(task, subjects):
    tally = filled(task, subjects)
    assert tally.value() == pytest.approx(CASES[task][1], abs=1e-9)
    assert math.isnan(filled(task, subjects, []).value())
    assert filled(task, subjects, []).worst() is None


def test_the_worst_picture_is_told_of_features(subjects):
    assert filled("features", subjects).worst() == pytest.approx(0.0)
    assert filled("pose", subjects).worst() is None


@pytest.mark.parametrize("task", CASES)
def test_a_tally_goes_on_from_its_state(task, subjects):
    whole, pairs = filled(task, subjects), CASES[task][0]
    second = filled(task, subjects, [])
    second.restore(json.loads(json.dumps(filled(task, subjects, pairs[:1]).state())))
    for found, wanted in pairs[1:]:
        second.add(BOX, found, wanted)
    assert second.value() == whole.value()
    assert second.state() == whole.state()


def test_a_network_agrees_with_itself(subjects):
    for task in CASES:
        pairs = [(wanted, wanted) for _, wanted in CASES[task][0]]
        assert filled(task, subjects, pairs).value() == pytest.approx(1.0)


@pytest.mark.parametrize("values", [None, [1], ["1"], [2.0], [float("nan")]])
def test_what_are_no_cosines_is_refused(values, subjects):
    with pytest.raises(ValueError, match="no cosines"):
        agreement_of(subjects["features"]).restore({"values": values})
