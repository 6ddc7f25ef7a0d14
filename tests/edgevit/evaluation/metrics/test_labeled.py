"""Metrics as they stream, against values worked out by hand and the whole-set functions."""

import json
import math

import numpy as np
import pytest

from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.metrics.labeled import METRICS, Ap, MeanIou, Pck, Top1, tally_of
from edgevit.tasks.classification.task import Scores
from edgevit.tasks.pose.pose import Pose
from edgevit.tasks.pose.score import Detection, Person, average_precision, pck, pose_score
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.segmentation.task import Masks

RNG = np.random.default_rng(5)
MASK_TRUTH = np.array([[0, 0, 1], [1, 2, -1]], np.int32)
MASK_FOUND = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)


def labeled(truth, found):
    return Sample("s", (), label=truth), [Scores(np.eye(3, dtype=np.float32)[found])]


def masked(truth=MASK_TRUTH, found=MASK_FOUND):
    return Sample("s", (), mask=truth), [Masks(found, found)]


def people(seed, count):
    """Persons and poses near them."""
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0, 100, (count, 17, 3)).astype(np.float32)
    joints[..., 2] = rng.integers(0, 3, (count, 17))
    joints[:, 0, 2] = 2
    boxes = tuple((0.0, 0.0, *map(float, rng.uniform(50, 100, 2))) for _ in range(count))
    areas = tuple(map(float, rng.uniform(500, 5000, count)))
    spread = rng.uniform(0, 6, (count, 1, 1))
    points = (joints[..., :2] + rng.normal(size=(count, 17, 2)) * spread).astype(np.float32)
    scores = rng.uniform(0, 1, (count, 17)).astype(np.float32)
    answers = [Pose(p, s) for p, s in zip(points, scores, strict=True)]
    return Sample("s", (), boxes=boxes, joints=joints, areas=areas), answers


CASES = {
    "top-1": [labeled(1, 1), labeled(2, 0), labeled(0, 0), labeled(1, 1)],
    "mIoU": [masked(), masked(MASK_TRUTH.T, MASK_TRUTH.T.clip(0).astype(np.uint8))],
    "PCK": [people(seed, count) for seed, count in ((1, 2), (2, 0), (3, 3))],
    "AP": [people(seed, count) for seed, count in ((1, 2), (2, 0), (3, 3), (4, 1))],
}


def filled(metric, subjects, cases=None):
    tally = tally_of(metric, subjects["pose" if metric in ("PCK", "AP") else "segmentation"])
    for sample, found in CASES[metric] if cases is None else cases:
        tally.add(sample, found, [])
    return tally


def test_the_cases_are_of_every_metric():
    assert set(CASES) == set(METRICS)
    with pytest.raises(ValueError, match="no metric 'F1'"):
        tally_of("F1", None)


def test_top_1_is_the_share_of_right_ones(subjects):
    assert filled("top-1", subjects).value() == 3 / 4


def test_mean_iou_is_that_of_one_matrix(subjects):
    # By hand, pixels whose truth is -1 left out: of class 0 one is right, one is called 1, and one
    # of class 2 is called 0, so 1 / 3; class 1: 2 / 3; class 2: 0 / 1.
    tally = filled("mIoU", subjects, CASES["mIoU"][:1])
    assert tally.value() == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    # The second picture is right throughout: 2 more of class 0, 2 of class 1, 1 of class 2.
    assert filled("mIoU", subjects).value() == pytest.approx((3 / 5 + 4 / 5 + 1 / 2) / 3)


def test_pck_is_that_of_all_persons_together(subjects):
    samples = [sample for sample, _ in CASES["PCK"] if len(sample.boxes)]
    joints = np.concatenate([sample.joints for sample in samples])
    points = np.stack([pose.points for _, found in CASES["PCK"] for pose in found])
    sizes = np.array([max(box[2:]) for sample in samples for box in sample.boxes])
    want, _ = pck(points, joints[..., :2], joints[..., 2] > 0, sizes, 0.05)
    assert 0 < want < 1
    assert filled("PCK", subjects).value() == want


def test_pck_counts_what_is_closer_than_a_twentieth_of_the_longer_side(subjects):
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, :3, 2] = (2, 1, 0)  # seen, hidden, not labeled
    points = np.full((17, 2), 500, np.float32)
    points[:3] = ((0, 4.9), (0, 5.0), (0, 0))
    sample = Sample("s", (), boxes=((0.0, 0.0, 40.0, 100.0),), joints=joints)
    tally = Pck(17)
    tally.add(sample, [Pose(points, np.ones(17, np.float32))], [])
    assert tally.value() == 0.5


def test_ap_is_cocos_of_all_pictures(subjects):
    pictures = []
    for sample, found in CASES["AP"]:
        persons = [
            Person(joints[:, :2], joints[:, 2] > 0, area)
            for joints, area in zip(sample.joints, sample.areas, strict=True)
        ]
        poses = [Detection(pose.points, pose_score(pose.scores)) for pose in found]
        pictures.append((persons, poses))
    want, _ = average_precision(pictures, COCO.sigmas)
    assert 0 < want < 1
    assert filled("AP", subjects).value() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_tally_goes_on_from_its_state(metric, subjects):
    whole = filled(metric, subjects)
    for cut in range(len(CASES[metric]) + 1):
        first = filled(metric, subjects, CASES[metric][:cut])
        state = json.loads(json.dumps(first.state()))
        second = filled(metric, subjects, [])
        second.restore(state)
        for sample, found in CASES[metric][cut:]:
            second.add(sample, found, [])
        assert second.value() == whole.value()
        assert second.state() == whole.state()


@pytest.mark.parametrize("metric", METRICS)
def test_a_state_does_not_change_with_what_is_added_later(metric, subjects):
    tally = filled(metric, subjects)
    before = tally.state()
    text = json.dumps(before)
    tally.add(*CASES[metric][0], [])
    assert json.dumps(before) == text
    assert json.dumps(tally.state()) != text


@pytest.mark.parametrize("metric", METRICS)
def test_nothing_scored_is_no_number(metric, subjects):
    tally = filled(metric, subjects, [])
    assert math.isnan(tally.value())
    assert tally.worst() is None


@pytest.mark.parametrize(
    ("tally", "state"),
    [
        (Top1(), {}),
        (Top1(), {"hits": 2, "count": 1}),
        (Top1(), {"hits": -1, "count": 1}),
        (Top1(), {"hits": 1.0, "count": 1}),
        (Top1(), {"hits": True, "count": 1}),
        (MeanIou(3), {"pairs": [9], "pixels": [1]}),
        (MeanIou(3), {"pairs": [1, 2], "pixels": [1]}),
        (MeanIou(3), {"pairs": [1], "pixels": [1 << 70]}),
        (MeanIou(3), {"pairs": 7, "pixels": []}),
        (Pck(17), {"hits": [0] * 16, "counts": [0] * 17}),
        (Ap(COCO.sigmas), {"pictures": {}}),
        (Ap(COCO.sigmas), {"pictures": [7]}),
        (Ap(COCO.sigmas), {"pictures": [{"people": [], "poses": [[[[0, 0]], 1.0]]}]}),
        (Ap(COCO.sigmas), {"pictures": [{"people": [[[[0, 0]] * 17, [1], 1.0]], "poses": []}]}),
        (Ap(COCO.sigmas), {"pictures": [{"people": [[[[0, 0]] * 17, [0] * 17, 1]], "poses": []}]}),
        (Ap(COCO.sigmas), {"pictures": [{"people": [], "poses": [[[[1e39, 0]] * 17, 1.0]]}]}),
    ],
)
def test_what_is_no_state_is_refused(tally, state):
    with pytest.raises((ValueError, TypeError, KeyError)):
        tally.restore(state)


def test_too_many_classes_are_refused():
    from edgevit.errors import UsageError

    with pytest.raises(UsageError, match="up to 4096 classes, not 5000"):
        MeanIou(5000)
