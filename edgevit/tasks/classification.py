"""Classes of a picture or a clip: the best guesses of its logits, and how often they are right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError

Array = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Guess:
    """One class that a picture may be of."""

    index: int
    name: str
    probability: float  # 0..1, over all classes

    def to_json(self) -> dict[str, object]:
        """`class`, the index; `name`; `probability`, six digits."""
        return {
            "class": self.index,
            "name": self.name,
            "probability": round(self.probability, 6),
        }


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities over the last axis, float64 of the same shape; they sum to one."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def top_guesses(logits: Array, names: Sequence[str], count: int = 5) -> tuple[Guess, ...]:
    """The `count` likeliest classes of one picture, the best first, of equals the first named.

    logits: [C] or [1, C], a value a name; all classes where there are fewer than `count`.
    Raises `UsageError` on another shape, and on a count below 1.
    """
    values = logits[0] if logits.ndim == 2 and len(logits) == 1 else logits
    if values.shape != (len(names),):
        raise UsageError(f"Logits of {len(names)} classes are no array of shape {logits.shape}.")
    if count < 1:
        raise UsageError(f"At least one class is shown, not {count}.", next="--top 5")
    shares = softmax(values)
    order = np.argsort(-values, kind="stable")[:count]
    return tuple(Guess(int(i), names[i], float(shares[i])) for i in order)


def top_accuracy(logits: Array, truth: NDArray[np.integer], count: int = 1) -> float:
    """Share of pictures whose true class is among the `count` best, 0..1.

    logits: [N, C]; truth: [N]. Of equal logits the lower index counts as better, as an argmax has
    it. Raises `UsageError` on shapes that disagree, no pictures, and classes that are none.
    """
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or not logits.size:
        raise UsageError(
            f"Accuracy needs logits [N, C] and truth [N], not {logits.shape} and {truth.shape}."
        )
    if not 0 <= int(truth.min()) <= int(truth.max()) < logits.shape[1]:
        raise UsageError(
            f"The truth holds classes from {truth.min()} to {truth.max()}, but there are"
            f" {logits.shape[1]}."
        )
    own = np.take_along_axis(logits, truth[:, None].astype(np.intp), axis=1)
    before = np.arange(logits.shape[1]) < truth[:, None]
    better = ((logits > own) | ((logits == own) & before)).sum(axis=1)
    return float((better < count).mean())
