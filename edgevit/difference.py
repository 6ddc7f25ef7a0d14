"""One measure of difference, for passes, spellings, networks and files alike."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
MOST_SQNR = 200.0  # dB
LEAST_SPREAD = 1e-2  # of the largest value; float16 rounds at 5e-4 of it, and hides less than this
LEAST_REST = 0.1  # of the pixels, beside the commonest class


def difference(got: Array, want: Array) -> float:
    """max|got - want| / max(1, std(want)); infinite where shapes differ or not all is finite."""
    largest = absolute(got, want)
    if not math.isfinite(largest):
        return largest
    return largest / max(1.0, float(want.astype(np.float64).std()))


def absolute(got: Array, want: Array) -> float:
    """max|got - want|; infinite where shapes differ or not all is finite."""
    if not _comparable(got, want):
        return float("inf")
    return float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max())


def cosine(got: Array, want: Array) -> float:
    """Cosine of the angle between two outputs as vectors; 0 where a value is not finite or one is
    all zero.
    """
    if not _comparable(got, want):
        return 0.0
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(np.array_equal(a, b))


def sqnr(got: Array, want: Array) -> float:
    """Signal over quantization noise in dB, `10 log10(sum want^2 / sum (got - want)^2)`.

    At most 200, which is beyond what float64 tells apart; -200 where a value is not finite.
    """
    if not _comparable(got, want):
        return -MOST_SQNR
    a, b = got.astype(np.float64), want.astype(np.float64)
    power, noise = float((b**2).sum()), float(((a - b) ** 2).sum())
    if noise == 0.0:
        return MOST_SQNR
    if power == 0.0:
        return -MOST_SQNR
    return max(-MOST_SQNR, min(MOST_SQNR, 10 * math.log10(power / noise)))


def explained(got: Array, want: Array) -> float:
    """The coefficient of determination, `1 - sum (got - want)^2 / sum (want - mean(want))^2`.

    1 for the same values; 0 or less for any constant, for other values of the same distribution,
    and for what is shifted by one standard deviation or scaled by two. Where `want` is itself the
    same value everywhere, but for rounding, its power takes the place of its variance. Minus
    infinity where a value is not finite.
    """
    if not _comparable(got, want):
        return -math.inf
    a, b = got.astype(np.float64), want.astype(np.float64)
    noise = float(((a - b) ** 2).sum())
    center = b.mean() if float(b.std()) > LEAST_SPREAD * float(np.abs(b).max()) else 0.0
    signal = float(((b - center) ** 2).sum())
    if noise == 0.0 or signal == 0.0:  # of zeros a difference or a cosine tells
        return 1.0
    return 1.0 - noise / signal


def agreement(got: Array, want: Array) -> float | None:
    """Share of pixels with the same class: of label maps as they are, of class maps [1, C, H, W] by
    argmax. None for a map of one class, which every file would agree with.
    """
    if got.shape != want.shape:
        return 0.0
    if not np.issubdtype(want.dtype, np.integer):
        if want.shape[1] == 1:
            return None
        got, want = got.argmax(1), want.argmax(1)
    return float((got == want).mean())


def kappa(got: Array, want: Array) -> float | None:
    """Cohen's kappa of two label maps: their agreement beyond chance, `(p - e) / (1 - e)`.

    1 for the same maps, 0 or less for any constant and for random ones, however much of a picture
    one class covers. None where one class of `want` covers nearly all of it: a few pixels on the
    borders of the rest then are all there is.
    """
    if got.shape != want.shape:
        return -math.inf
    classes, counts = np.unique(want, return_counts=True)
    if want.size - counts.max() < LEAST_REST * want.size:
        return None
    same = float((got == want).mean())
    shares = zip(classes, counts / want.size, strict=True)
    chance = sum(float((got == label).mean()) * float(share) for label, share in shares)
    return (same - chance) / (1 - chance)


def _comparable(got: Array, want: Array) -> bool:
    """Whether two outputs have one shape and finite values alone."""
    return (
        got.shape == want.shape and bool(np.isfinite(got).all()) and bool(np.isfinite(want).all())
    )
