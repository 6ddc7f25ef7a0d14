"""Agreement with the fp32 network where nobody knows the truth, each as it streams."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgevit.difference import cosine
from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.metrics.tally import Confusion, Share, State, Tally
from edgevit.tasks.classification.task import Scores
from edgevit.tasks.features.task import Maps
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.pose.pose import Pose
from edgevit.tasks.segmentation.score import confusion, mean_iou
from edgevit.tasks.segmentation.task import Masks
from edgevit.tasks.task import Subject

CLOSE = 0.05  # of the box's longer side
TIE = 0.1  # between logits: 52.5 to 47.5 of a hundred, which is no decision
PEAK = 0.95  # of a heatmap's highest value: half a pixel from the middle of a trained one


class Top1Agreement(Share):
    """Share of pictures or clips of which both find the same class, or the file one that the fp32
    network holds for as likely: within `TIE` of its best logit.
    """

    def add(self, sample: Sample, answers: Sequence[Scores], wanted: Sequence[Scores]) -> None:
        """One picture."""
        logits = wanted[0].logits
        self.hits += int(logits[wanted[0].label] - logits[answers[0].label] <= TIE)
        self.count += 1


class MaskAgreement(Confusion):
    """mIoU with the fp32 network's mask as the truth, at the photo's own size."""

    def add(self, sample: Sample, answers: Sequence[Masks], wanted: Sequence[Masks]) -> None:
        """One picture."""
        classes = len(self.counts)
        self.counts += confusion(answers[0].mask, wanted[0].mask, classes, ignore=-1)

    def value(self) -> float:
        """Mean over the classes that either finds."""
        return mean_iou(self.counts)[0]


class KeypointAgreement(Share):
    """Share of the keypoints that the fp32 network finds (its score is above 0) which the other
    finds within 5 % of the box's longer side, or where fp32's heatmap is as high as its peak.
    """

    def add(self, sample: Sample, answers: Sequence[Pose], wanted: Sequence[Pose]) -> None:
        """One picture with its boxes."""
        for got, want, box in zip(answers, wanted, sample.boxes, strict=True):
            present = want.scores > 0
            apart = got.points.astype(np.float64) - want.points
            close = np.linalg.norm(apart, axis=1) <= CLOSE * max(box[2:])
            if got.heatmaps is not None and want.heatmaps is not None:
                close |= _as_high(got.heatmaps, want.heatmaps)
            self.hits += int((close & present & (got.scores > 0)).sum())
            self.count += int(present.sum())


def _as_high(got: FloatArray, want: FloatArray) -> NDArray[np.bool_]:
    """Whether `want` [K, h, w] is near its peak where `got` has its own: of two peaks that are as
    high, either is right. [K].
    """
    count = len(want)
    own, other = want.reshape(count, -1), got.reshape(count, -1)
    there = own[np.arange(count), other.argmax(axis=1)]
    high: NDArray[np.bool_] = there >= PEAK * own.max(axis=1)
    return high


class FeatureCosine:
    """Mean over pictures of the cosine of the feature maps, of several maps the lowest."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def add(self, sample: Sample, answers: Sequence[Maps], wanted: Sequence[Maps]) -> None:
        """One picture."""
        pairs = zip(answers[0].maps, wanted[0].maps, strict=True)
        lowest = min(cosine(got.values, want.values) for got, want in pairs)
        self.values.append(max(-1.0, min(1.0, lowest)))  # rounding goes beyond

    def value(self) -> float:
        """The mean."""
        return float(np.mean(self.values)) if self.values else float("nan")

    def worst(self) -> float | None:
        """The lowest of a picture."""
        return min(self.values, default=None)

    def state(self) -> State:
        """Every picture's cosine."""
        return {"values": list(self.values)}

    def restore(self, state: State) -> None:
        """The same cosines."""
        values = state["values"]
        if not isinstance(values, list) or not all(
            type(value) is float and -1 <= value <= 1 for value in values
        ):
            raise ValueError("no cosines")
        self.values = list(values)


# Task -> what agreement is called there.
AGREEMENTS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "top-1 agreement",
        "video": "top-1 agreement",
        "segmentation": "mIoU agreement",
        "pose": "keypoint agreement",
        "features": "feature cosine",
    }
)


def agreement_of(subject: Subject) -> Tally:
    """An empty tally of how far two networks of this task agree."""
    new: Mapping[str, Callable[[], Tally]] = {
        "top-1 agreement": Top1Agreement,
        "mIoU agreement": lambda: MaskAgreement(len(subject.labels)),
        "keypoint agreement": KeypointAgreement,
        "feature cosine": FeatureCosine,
    }
    return new[AGREEMENTS[subject.task]]()
