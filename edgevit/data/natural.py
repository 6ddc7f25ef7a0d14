"""Inputs with the spectrum of natural pictures, from a seed: for networks that no scene suits."""

import numpy as np
from numpy.typing import NDArray


def natural_input(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """float32 of this shape whose amplitude falls with 1 / frequency in the last two dimensions.

    Every picture has mean 0 and standard deviation 1 a channel, as normalized photos roughly have
    (Field 1987: the amplitude spectra of natural scenes). White noise has all its energy where no
    photo has any, and asks ranges of a network that no photo asks.
    """
    height, width = shape[-2:]
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1.0 / max(height, width)
    white = np.random.default_rng(seed).standard_normal(shape)
    found = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    found -= found.mean(axis=(-2, -1), keepdims=True)
    found /= np.maximum(found.std(axis=(-2, -1), keepdims=True), 1e-12)
    return found.astype(np.float32)
