"""Top-1, mean IoU, PCK and AP against the truth, each as it streams."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.metrics.tally import Confusion, Share, State, Tally, counts_of
from edgevit.tasks.classification.task import Scores
from edgevit.tasks.pose.pose import Pose
from edgevit.tasks.pose.score import Detection, Person, average_precision, pose_score
from edgevit.tasks.pose.skeletons import skeleton_with
from edgevit.tasks.segmentation.score import confusion, mean_iou
from edgevit.tasks.segmentation.task import Masks
from edgevit.tasks.task import Subject

METRICS = ("top-1", "mIoU", "PCK", "AP")
PCK_THRESHOLD = 0.05  # of the box's longer side


def tally_of(metric: str, subject: Subject) -> Tally:
    """An empty tally of one of `METRICS`."""
    match metric:
        case "top-1":
            return Top1()
        case "mIoU":
            return MeanIou(len(subject.labels))
        case "PCK":
            return Pck(len(subject.labels))
        case "AP":
            return Ap(skeleton_with(subject.labels).sigmas)
    raise ValueError(f"There is no metric {metric!r}.")


class Top1(Share):
    """Share of pictures or clips whose best class, of equals the first, is the true one."""

    def add(self, sample: Sample, answers: Sequence[Scores], wanted: Sequence[Scores]) -> None:
        """One picture."""
        self.hits += int(answers[0].label == sample.label)
        self.count += 1


class MeanIou(Confusion):
    """mmseg's mIoU at the photos' own sizes: one confusion matrix over all pictures."""

    def add(self, sample: Sample, answers: Sequence[Masks], wanted: Sequence[Masks]) -> None:
        """One picture; pixels of no known class are left out."""
        assert sample.mask is not None
        self.counts += confusion(answers[0].mask, sample.mask, len(self.counts), ignore=-1)

    def value(self) -> float:
        """Mean over the classes that are in the truth or in a prediction."""
        return mean_iou(self.counts)[0]


class Pck:
    """Share of labeled keypoints, hidden ones too, closer to the truth than 0.05 of the box's
    longer side; the mean over keypoints (tasks/pose/score.py, `pck`, as it streams).
    """

    def __init__(self, keypoints: int) -> None:
        self.hits = np.zeros(keypoints, np.int64)
        self.counts = np.zeros(keypoints, np.int64)

    def add(self, sample: Sample, answers: Sequence[Pose], wanted: Sequence[Pose]) -> None:
        """One picture with its persons."""
        for pose, box, joints in zip(answers, sample.boxes, _joints(sample), strict=True):
            visible = joints[:, 2] > 0
            apart = pose.points.astype(np.float64) - joints[:, :2]
            close = np.linalg.norm(apart, axis=1) / max(box[2:]) < PCK_THRESHOLD
            self.hits += close & visible
            self.counts += visible

    def value(self) -> float:
        """Mean over the keypoints that somebody shows."""
        seen = self.counts > 0
        return float((self.hits[seen] / self.counts[seen]).mean()) if seen.any() else float("nan")

    def worst(self) -> float | None:
        """Not known: a picture has few keypoints."""
        return None

    def state(self) -> State:
        """Both counts of each keypoint."""
        return {"hits": self.hits.tolist(), "counts": self.counts.tolist()}

    def restore(self, state: State) -> None:
        """Both counts."""
        keypoints = len(self.hits)
        self.hits = np.array(counts_of(state["hits"], keypoints), np.int64)
        self.counts = np.array(counts_of(state["counts"], keypoints), np.int64)


class Ap:
    """COCO's keypoint AP with the persons' own boxes, each with the score 1 (mmpose's
    `use_gt_bbox`): what a network makes of a box, and no detector.
    """

    def __init__(self, sigmas: Sequence[float]) -> None:
        self.sigmas = sigmas
        # Plain data, so that keeping it costs nothing while it grows: of each picture its persons
        # (points, visibility, area) and its poses (points, score).
        self.pictures: list[dict[str, Any]] = []

    def add(self, sample: Sample, answers: Sequence[Pose], wanted: Sequence[Pose]) -> None:
        """One picture with its persons."""
        people, poses = [], []
        for pose, joints, area in zip(answers, _joints(sample), sample.areas, strict=True):
            visible = (joints[:, 2] > 0).tolist()
            people.append([joints[:, :2].tolist(), visible, area])
            poses.append([pose.points.tolist(), pose_score(pose.scores)])
        self.pictures.append({"people": people, "poses": poses})

    def value(self) -> float:
        """Mean over OKS 0.50 to 0.95."""
        pairs = [_typed(picture, len(self.sigmas)) for picture in self.pictures]
        return average_precision(pairs, self.sigmas)[0]

    def worst(self) -> float | None:
        """Not known: precision is of all poses together."""
        return None

    def state(self) -> State:
        """Every picture's persons and poses."""
        return {"pictures": list(self.pictures)}

    def restore(self, state: State) -> None:
        """The same pictures, each one checked."""
        if not isinstance(state["pictures"], list):
            raise ValueError("no list of pictures")
        for picture in state["pictures"]:
            _typed(picture, len(self.sigmas))
        self.pictures = list(state["pictures"])


def _joints(sample: Sample) -> np.ndarray[Any, np.dtype[np.float32]]:
    assert sample.joints is not None
    return sample.joints


def _typed(picture: dict[str, Any], keypoints: int) -> tuple[list[Person], list[Detection]]:
    """A picture's plain data as values; raises `ValueError`, `TypeError` or `KeyError`."""
    people = [
        Person(_points(points, keypoints), np.array(visible, np.bool_), float(area))
        for points, visible, area in picture["people"]
    ]
    if not all(p.visible.shape == (keypoints,) and p.visible.any() for p in people):
        raise ValueError("no labeled keypoints")
    poses = [Detection(_points(points, keypoints), float(s)) for points, s in picture["poses"]]
    return people, poses


def _points(value: object, keypoints: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    with np.errstate(over="ignore"):
        points = np.array(value, np.float32)
    if points.shape != (keypoints, 2) or not np.isfinite(points).all():
        raise ValueError("no points")
    return points
