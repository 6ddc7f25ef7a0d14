"""Inputs with a picture's spectrum."""

import numpy as np
import pytest

from edgevit.data.natural import natural_input


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (1, 3, 4, 32, 32)])
def test_a_channel_has_mean_0_and_deviation_1(shape):
    found = natural_input(shape, 3)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert np.abs(found.mean((-2, -1))).max() < 1e-5
    assert np.abs(found.std((-2, -1)) - 1).max() < 1e-5
    assert np.array_equal(found, natural_input(shape, 3))
    assert not np.array_equal(found, natural_input(shape, 4))


def test_amplitude_falls_with_frequency():
    picture = natural_input((1, 1, 256, 256), 0)[0, 0]
    amplitude = np.abs(np.fft.fft2(picture))
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None])
    means = [
        amplitude[(frequency > low) & (frequency < 1.2 * low)].mean() for low in (0.05, 0.1, 0.2)
    ]
    # Twice the frequency, half the amplitude.
    assert means[0] / means[1] == pytest.approx(2, rel=0.15)
    assert means[1] / means[2] == pytest.approx(2, rel=0.15)
