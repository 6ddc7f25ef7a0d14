"""How good keypoints are: PCK and COCO's OKS average precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError

Array = NDArray[np.floating]
OKS_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
RECALLS = np.linspace(0.0, 1.0, 101)
DETECTIONS = 20  # of one picture that count, the best first
VISIBLE = 0.2  # score from which on a keypoint counts in a pose's score (mmpose's vis_thr)


def pck(
    points: Array,
    truth: Array,
    visible: NDArray[np.bool_],
    sizes: Array,
    threshold: float = 0.2,
) -> tuple[float, NDArray[np.float64]]:
    """Share of keypoints closer to the truth than `threshold` times the person's size, 0..1.

    points, truth: [N, K, 2] in px. visible: [N, K], the ones that count. sizes: [N] in px, for PCK
    on a box its longer side. Returns the mean over keypoints and [K]; a keypoint that nobody shows
    is NaN and left out of the mean (mmpose's `keypoint_pck_accuracy`).
    Raises `UsageError` on shapes that disagree, and on a size that is not above 0.
    """
    if not (
        points.ndim == 3
        and points.shape == truth.shape
        and points.shape[2] == 2
        and visible.shape == points.shape[:2]
        and sizes.shape == points.shape[:1]
    ):
        raise UsageError(
            f"PCK needs points and truth [N, K, 2], visible [N, K] and sizes [N], not"
            f" {points.shape}, {truth.shape}, {visible.shape} and {sizes.shape}."
        )
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise UsageError("PCK is relative to a person's size, which must be above 0.")
    distance = np.linalg.norm(points.astype(np.float64) - truth, axis=2) / sizes[:, None]
    counts = visible.sum(axis=0)
    hits = ((distance < threshold) & visible).sum(axis=0)
    share = np.full(len(counts), np.nan)
    share[counts > 0] = hits[counts > 0] / counts[counts > 0]
    return (float(share[counts > 0].mean()) if counts.any() else math.nan), share


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person of the truth."""

    points: Array  # [K, 2] in px
    visible: NDArray[np.bool_]  # [K], labeled, hidden ones included; at least one
    area: float  # px^2, of the person's mask


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One pose that was found."""

    points: Array  # [K, 2] in px
    score: float


def pose_score(scores: Array, box_score: float = 1.0) -> float:
    """A pose's score as mmpose gives it to COCO: the box's, times the mean of its keypoints' scores
    above 0.2.
    """
    kept = scores[scores > VISIBLE]
    return box_score * float(kept.mean()) if kept.size else 0.0


def oks(points: Array, person: Person, sigmas: Sequence[float]) -> float:
    """Object keypoint similarity, 0..1: the mean of `exp(-d^2 / (2 area (2 sigma)^2))` over the
    labeled keypoints (cocoapi, `computeOks`).

    Raises `UsageError` where the numbers of keypoints disagree, or none is labeled.
    """
    if not (points.shape == person.points.shape == (len(sigmas), 2)):
        raise UsageError(
            f"OKS compares poses of {len(sigmas)} keypoints, not {points.shape} with"
            f" {person.points.shape}."
        )
    if not person.visible.any():
        raise UsageError("A person without a labeled keypoint cannot be compared.")
    squared = ((points.astype(np.float64) - person.points) ** 2).sum(axis=1)
    spread = (2 * np.asarray(sigmas)) ** 2 * (person.area + np.spacing(1)) * 2
    return float(np.exp(-squared / spread)[person.visible].mean())


def average_precision(
    pictures: Sequence[tuple[Sequence[Person], Sequence[Detection]]], sigmas: Sequence[float]
) -> tuple[float, float]:
    """COCO's keypoint AP and AR, means over OKS 0.50 to 0.95, of the persons and poses by picture.

    The best 20 poses of a picture count; in the order of their scores each takes the person it fits
    best of those left. Precision is interpolated at 101 recalls (cocoapi, cocoeval.py; its small
    and crowd regions, which are ignored there, are not known here).
    Both are NaN where there is no person.
    """
    total = sum(len(people) for people, _ in pictures)
    if not total:
        return math.nan, math.nan
    scores: list[float] = []
    hits: list[list[bool]] = []  # of each pose, at every threshold
    for people, poses in pictures:
        best = sorted(poses, key=lambda pose: -pose.score)[:DETECTIONS]
        table = np.array([[oks(p.points, person, sigmas) for person in people] for p in best])
        scores += [pose.score for pose in best]
        hits += np.stack([_matches(table, limit) for limit in OKS_THRESHOLDS], axis=1).tolist()
    order = np.argsort([-score for score in scores], kind="stable")
    table = np.array(hits, np.bool_).reshape(len(hits), len(OKS_THRESHOLDS))[order]
    curves = [_precision_recall(column, total) for column in table.T]
    return (
        float(np.mean([precision for precision, _ in curves])),
        float(np.mean([recall for _, recall in curves])),
    )


def _matches(table: Array, limit: float) -> NDArray[np.bool_]:
    """Whether each pose, best first, finds a person: table is [poses, people] of OKS."""
    taken = np.zeros(table.shape[1] if table.ndim == 2 else 0, np.bool_)
    matched = np.zeros(len(table), np.bool_)
    for index, row in enumerate(table):
        free = np.where(taken, -1.0, row)
        if free.size and free.max() >= limit:
            # Of equals cocoapi takes the last.
            taken[len(free) - 1 - int(free[::-1].argmax())] = True
            matched[index] = True
    return matched


def _precision_recall(hits: NDArray[np.bool_], total: int) -> tuple[float, float]:
    """Mean interpolated precision and the highest recall, of poses in the order of their scores."""
    if not hits.size:
        return 0.0, 0.0
    right = np.cumsum(hits)
    recall = right / total
    precision = right / np.arange(1, len(hits) + 1)
    # The best precision at this recall or beyond.
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(recall, RECALLS, side="left")
    inside = index < len(recall)
    return float(np.where(inside, envelope[index.clip(max=len(recall) - 1)], 0.0).mean()), float(
        recall[-1]
    )
