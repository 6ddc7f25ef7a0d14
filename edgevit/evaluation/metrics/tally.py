"""What a metric is while it streams: samples are added, and what was added can be kept as JSON."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.subject import Answer

State = dict[str, Any]  # plain data for a JSON file
MOST_CLASSES = 4096  # of a confusion matrix, 128 MiB


class Tally(Protocol):
    """One predictor's score so far."""

    def add(self, sample: Sample, answers: Sequence[Answer], wanted: Sequence[Answer]) -> None:
        """Count one sample: the outputs for its inputs, and those of fp32 if they are used."""

    def value(self) -> float:
        """The score, 0..1; NaN where nothing was there to score."""

    def worst(self) -> float | None:
        """The lowest score of one picture, where that means something."""

    def state(self) -> State:
        """All that was counted; later additions do not change it."""

    def restore(self, state: State) -> None:
        """Go on from what `state` gave; raises `ValueError` or `TypeError` on anything else."""


class Share:
    """Hits among counted ones, the base of several metrics."""

    def __init__(self) -> None:
        self.hits = 0
        self.count = 0

    def value(self) -> float:
        """Hits by count."""
        return self.hits / self.count if self.count else float("nan")

    def worst(self) -> float | None:
        """Not known: a picture is right or wrong."""
        return None

    def state(self) -> State:
        """Both counts."""
        return {"hits": self.hits, "count": self.count}

    def restore(self, state: State) -> None:
        """Both counts."""
        self.hits, self.count = counts_of([state["hits"], state["count"]], 2)
        if self.hits > self.count:
            raise ValueError("more hits than samples")


class Confusion:
    """Pixels by (true, predicted) class, the base of both mean IoUs."""

    def __init__(self, classes: int) -> None:
        if classes > MOST_CLASSES:
            raise UsageError(f"mIoU is measured of up to {MOST_CLASSES} classes, not {classes}.")
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)

    def worst(self) -> float | None:
        """Not known: the mean over classes is of all pictures together."""
        return None

    def state(self) -> State:
        """The pairs of classes that occur, and how often."""
        flat = self.counts.reshape(-1)
        pairs = np.flatnonzero(flat)
        return {"pairs": pairs.tolist(), "pixels": flat[pairs].tolist()}

    def restore(self, state: State) -> None:
        """The same pairs."""
        pairs = counts_of(state["pairs"], None)
        pixels = counts_of(state["pixels"], len(pairs))
        if pairs and max(pairs) >= self.counts.size:
            raise ValueError("a pair of classes that there are not")
        self.counts.reshape(-1)[pairs] = pixels


def counts_of(value: object, length: int | None) -> list[int]:
    """A list of counts of a state; raises `ValueError`."""
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise ValueError("no list of this length")
    if not all(type(item) is int and 0 <= item < 1 << 62 for item in value):
        raise ValueError("no counts")
    return value
