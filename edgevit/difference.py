"""One measure of difference, for passes, spellings, networks and files alike."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
MOST_SQNR = 200.0  # dB


def difference(got: Array, want: Array) -> float:
    """max|got - want| / max(1, std(want)); infinite where shapes differ or not all is finite."""
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return float("inf")
    wide, reference = got.astype(np.float64), want.astype(np.float64)
    return float(np.abs(wide - reference).max() / max(1.0, float(reference.std())))


def cosine(got: Array, want: Array) -> float:
    """Cosine of the angle between two outputs as vectors; 0 where a value is not finite or one is
    all zero.
    """
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(np.array_equal(a, b))


def sqnr(got: Array, want: Array) -> float:
    """Signal over quantization noise in dB, `10 log10(sum want^2 / sum (got - want)^2)`.

    At most 200, which is beyond what float64 tells apart; -200 where a value is not finite.
    """
    a, b = got.astype(np.float64), want.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -MOST_SQNR
    power, noise = float((b**2).sum()), float(((a - b) ** 2).sum())
    if noise == 0.0:
        return MOST_SQNR
    if power == 0.0:
        return -MOST_SQNR
    return max(-MOST_SQNR, min(MOST_SQNR, 10 * math.log10(power / noise)))


def agreement(got: Array, want: Array) -> float:
    """Share of pixels with the same class: of label maps as they are, of class maps [1, C, H, W] by
    argmax.
    """
    if got.shape != want.shape:
        return 0.0
    if not np.issubdtype(want.dtype, np.integer):
        got, want = got.argmax(1), want.argmax(1)
    return float((got == want).mean())
