"""PCK and OKS average precision, on cases that can be counted by hand."""

import math

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.pose.score import (
    Detection,
    Person,
    average_precision,
    oks,
    pck,
    pose_score,
)
from edgevit.tasks.pose.skeletons import COCO


def person(seed=0, area=10_000.0, visible=17):
    points = np.random.default_rng(seed).uniform(0, 100, (17, 2))
    return Person(points, np.arange(17) < visible, area)


def off(one, thr):
    """A pose that fits the person with this OKS exactly, by the definition."""
    spread = 2 * one.area * (2 * np.array(COCO.sigmas)) ** 2
    return one.points + np.stack([np.sqrt(-np.log(thr) * spread), np.zeros(17)], axis=1)


def test_pck_counts_what_is_close_and_visible():
    truth = np.zeros((2, 3, 2))
    points = truth.copy()
    points[0, :, 0] = [19.9, 20.1, 5]  # sizes 100: the limit is 20
    points[1, :, 1] = [9.9, 0, 50]  # size 50: the limit is 10
    visible = np.array([[True, True, False], [True, False, False]])
    mean, share = pck(points, truth, visible, np.array([100.0, 50.0]))
    assert share[:2].tolist() == [1.0, 0.0]
    assert math.isnan(share[2])
    assert mean == 0.5
    assert pck(points, truth, visible, np.array([101.0, 50.0]))[0] == 1.0
    assert math.isnan(pck(points, truth, visible & False, np.array([1.0, 1.0]))[0])


def test_pck_refuses_what_does_not_fit():
    points = np.zeros((2, 3, 2))
    with pytest.raises(UsageError, match="visible"):
        pck(points, points, np.ones((2, 4), bool), np.ones(2))
    with pytest.raises(UsageError, match="above 0"):
        pck(points, points, np.ones((2, 3), bool), np.array([1.0, 0.0]))


def test_oks_by_its_definition():
    one = person()
    assert oks(one.points, one, COCO.sigmas) == 1.0
    for thr in (0.9, 0.5, 0.1):
        assert oks(off(one, thr), one, COCO.sigmas) == pytest.approx(thr)
    half = person(visible=5)
    moved = half.points.copy()
    moved[5:] += 1000  # unlabeled: does not count
    assert oks(moved, half, COCO.sigmas) == 1.0
    with pytest.raises(UsageError, match="without a labeled"):
        oks(one.points, person(visible=0), COCO.sigmas)
    with pytest.raises(UsageError, match="17 keypoints"):
        oks(one.points[:5], one, COCO.sigmas)


def ap(*pictures):
    return average_precision(pictures, COCO.sigmas)


def test_perfect_poses_and_none():
    one, two = person(1), person(2)
    found = [Detection(one.points, 0.9), Detection(two.points, 0.8)]
    assert ap(([one, two], found)) == (1.0, 1.0)
    assert ap(([one], []), ([two], [])) == (0.0, 0.0)
    assert all(math.isnan(value) for value in ap(([], found)))


def test_thresholds_share_the_score():
    """At OKS 0.72 a pose counts at 0.50 to 0.70, five of ten thresholds."""
    one = person(1)
    assert ap(([one], [Detection(off(one, 0.72), 1.0)])) == pytest.approx((0.5, 0.5))


def test_a_person_is_found_once():
    one = person(1)
    twice = [Detection(one.points, 0.9), Detection(one.points, 0.8)]
    # The second is a false alarm behind the full recall: nothing is lost.
    assert ap(([one], twice)) == (1.0, 1.0)
    # A false alarm before it halves the precision.
    wrong = Detection(one.points + 500, 0.95)
    assert ap(([one], [wrong, twice[0]])) == pytest.approx((0.5, 1.0))


def test_the_interpolated_curve_over_pictures():
    """Four persons: hit, miss, hit, hit by score. Precision 1 up to recall 1/4, then 3/4 up to 3/4;
    of 101 recalls 26 lie up to 0.25 and 50 above it up to 0.75.
    """
    people = [person(seed) for seed in range(4)]
    right = [
        Detection(one.points, score) for one, score in zip(people, (0.9, 0.7, 0.6), strict=False)
    ]
    pictures = [([people[0]], [right[0]]), ([people[1]], [right[1]])]
    pictures += [([people[2]], [right[2]]), ([people[3]], [Detection(people[3].points + 500, 0.8)])]
    found = average_precision(pictures, COCO.sigmas)
    assert found == pytest.approx(((26 + 50 * 0.75) / 101, 0.75))


def test_only_the_best_twenty_of_a_picture_count():
    one = person(1)
    wrong = [Detection(one.points + 500, 0.9)] * 20
    assert ap(([one], [*wrong, Detection(one.points, 0.5)])) == (0.0, 0.0)


def test_the_score_of_a_pose():
    scores = np.array([0.1, 0.5, 0.9], np.float32)
    assert pose_score(scores, 0.5) == pytest.approx(0.35)
    assert pose_score(np.zeros(3)) == 0.0
