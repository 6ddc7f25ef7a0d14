"""Our own demo weights, each with a card that says how they were made. Loads no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# What a card calls its held-out score, and how that is written.
METRICS = {"miou": "mIoU", "top1": "top-1", "pck": "PCK"}


@dataclass(frozen=True, slots=True)
class DemoWeights:
    """A weights file of ours and what its card says."""

    path: Path
    labels: tuple[str, ...]
    card: dict[str, Any]


def demo_weights(model: str) -> DemoWeights | None:
    """The demo weights of a model, or None."""
    path = HERE / f"{model}.safetensors"
    if not path.is_file():
        return None
    card = json.loads(path.with_suffix(".json").read_text())
    return DemoWeights(path, tuple(card["labels"]), card)


def score_text(card: dict[str, Any]) -> str:
    """A card's held-out score in words: `mIoU 0.894`."""
    (key,) = METRICS.keys() & card.keys()
    return f"{METRICS[key]} {card[key]:.3f}"
