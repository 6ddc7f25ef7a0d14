"""scene150: the demo network's ten classes among 150, as logits and as a checkpoint.

ADE20K has 150 classes and no weights of it can be downloaded here. The costs of a network of 150
classes do not depend on its weights; the cost of the exact mask, and what fp16 and int8 lose, do.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from edgevit import create_model
from edgevit.data import scenes
from edgevit.tasks.preprocessing import Preprocessing, normalized
from edgevit.weights import demo_weights

MODEL = "topformer-t"
SIDE, STRIDE, CLASSES, SCENES = 448, 8, 150, 20
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
BELOW = (4.0, 8.0)  # how far the other channels lie below the winner, or below the average class
CLASSIFIER = "decode_head.conv_seg"
Logits = NDArray[np.float32]


def scene150(logits: Logits, seed: int) -> Logits:
    """Logits of a few classes, [C, h, w], among 150: the others 4 to 8 below the winner.

    The few keep their values, in channels drawn by the seed; each other channel lies, at every
    pixel, a random amount from 4 to 8 below the largest of them.
    """
    rng = np.random.default_rng(seed)
    channels = rng.permutation(CLASSES)[: len(logits)]
    result = logits.max(0) - rng.uniform(*BELOW, (CLASSES, *logits.shape[1:]))
    result[channels] = logits
    return result.astype(np.float32)


def scene_logits(side: int = SIDE) -> Iterator[Logits]:
    """The demo network's logits [10, side / 8, side / 8] on held-out scenes."""
    demo = demo_weights(MODEL)
    assert demo is not None
    network = create_model(MODEL, demo.path, input_size=(side, side))
    spec = Preprocessing(size=(side, side), mean=MEAN, std=STD)
    for seed in scenes.HELD_OUT_SEEDS[:SCENES]:
        drawn = scenes.scene(seed, side, side)
        with torch.no_grad():
            yield network(torch.from_numpy(normalized(drawn.image, spec)))[0].numpy()


def write_checkpoint(path: Path, seed: int = 0) -> None:
    """The demo weights with a classifier of 150 classes, which find what the ten find.

    The ten keep their rows, in channels drawn by the seed. Each other row is their average, 4 to 8
    lower: below the winner everywhere, for the winner is at least the average.
    """
    demo = demo_weights(MODEL)
    assert demo is not None
    state = load_file(demo.path)
    rng = np.random.default_rng(seed)
    channels = torch.from_numpy(rng.permutation(CLASSES)[: len(demo.labels)])
    lower = torch.from_numpy(rng.uniform(*BELOW, CLASSES).astype(np.float32))
    for name, shift in ((f"{CLASSIFIER}.weight", 0), (f"{CLASSIFIER}.bias", lower)):
        few = state[name].float()
        spread = few.mean(0, keepdim=True).repeat(CLASSES, *[1] * (few.ndim - 1)) - shift
        spread[channels] = few
        state[name] = spread
    save_file(state, path)
