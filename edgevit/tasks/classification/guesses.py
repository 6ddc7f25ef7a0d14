"""The likeliest classes of a picture or a clip, by its logits."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.drawing.style import percent

Array = NDArray[np.floating]
NAMED = 3  # classes of a headline


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


def headline_of(guesses: Sequence[Guess]) -> str:
    """The first three guesses on one line."""
    return ", ".join(f"{guess.name} {percent(guess.probability)}" for guess in guesses[:NAMED])
