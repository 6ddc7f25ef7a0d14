"""Logits of every kind for what computes masks."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgevit.tasks.pixels.resize import bilinear

Logits = NDArray[np.float32]


def piecewise_smooth(classes: int, side: int, seed: int = 0) -> Logits:
    """Logits like a trained network's: smooth scores, one high plateau a region, a little noise."""
    rng = np.random.default_rng(seed)
    scores = bilinear(rng.normal(0, 2, (classes, 6, 6)).astype(np.float32), (side, side))
    region = bilinear(rng.normal(0, 1, (classes, 4, 4)).astype(np.float32), (side, side)).argmax(0)
    plateau = np.arange(classes)[:, None, None] == region
    return (scores + 5 * plateau + rng.normal(0, 0.2, scores.shape)).astype(np.float32)


@st.composite
def maps(draw: st.DrawFn) -> tuple[Logits, tuple[int, int]]:
    """Logits of every hostile kind with an output size of any ratio, uneven and downward too."""
    classes, h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    size = (draw(st.integers(1, 75)), draw(st.integers(1, 75)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (classes, h, w)
    kind = draw(
        st.sampled_from(
            ["random", "ties", "constant", "ulps", "scales", "tiny", "copies", "smooth"]
        )
    )
    eps = np.finfo(np.float32).eps
    match kind:
        case "random":
            x = rng.normal(0, 3, shape)
        case "ties":
            x = rng.integers(-1, 2, shape)
        case "constant":
            x = np.full(shape, rng.normal())
        case "ulps":  # neighbors a few units in the last place apart: rounding decides
            x = 1 + eps * rng.integers(-3, 4, shape)
        case "scales":
            x = rng.normal(0, 1, shape) * 10.0 ** rng.integers(-30, 30, shape)
        case "tiny":  # products underflow
            x = rng.integers(-9, 10, shape) * 1e-44
        case "copies":  # the same class twice, one of them off by an ulp here and there
            x = np.repeat(rng.normal(0, 3, (1, h, w)), classes, 0)
            x = x * (1 + eps * rng.integers(0, 2, shape))
        case _:
            x = bilinear(rng.normal(0, 3, (classes, 2, 2)).astype(np.float32), (h, w))
    return x.astype(np.float32), size
