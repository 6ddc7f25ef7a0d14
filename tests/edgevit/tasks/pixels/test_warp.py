"""The affine warp against OpenCV and against its definition."""

import cv2
import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.pixels.warp import inverse, region_matrix, warp_affine


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scaled(factor, x, y):
    return np.array([[factor, 0, x], [0, factor, y]], np.float64)


@pytest.mark.parametrize(
    "matrix",
    [
        scaled(1.0, 0.0, 0.0),
        scaled(0.7, -30.3, 12.9),
        scaled(3.1, -200.0, -150.5),
        scaled(0.2, 40.0, 40.0),
        cv2.getRotationMatrix2D((100, 80), 30, 1.3),
        cv2.getRotationMatrix2D((10, 10), -75, 0.4),
    ],
)
@pytest.mark.parametrize("size", [(120, 90), (64, 200)])
def test_against_opencv_even_on_noise(matrix, size):
    image = noise(161, 203)
    want = cv2.warpAffine(image, matrix, size[::-1], flags=cv2.INTER_LINEAR)
    levels = np.abs(warp_affine(image, matrix, size).astype(int) - want)
    # OpenCV 5 rounds no position; OpenCV 4 to 1/32 px, which white noise shows most.
    assert levels.mean() < (0.1 if cv2.__version__ >= "5" else 1.0)


def test_the_identity_and_whole_shifts_are_exact():
    image = noise(20, 30)
    assert np.array_equal(warp_affine(image, scaled(1, 0, 0), (20, 30)), image)
    shifted = warp_affine(image, scaled(1, 4, -3), (20, 30))
    assert np.array_equal(shifted[:17, 4:], image[3:, :26])
    assert not shifted[17:].any()
    assert not shifted[:, :4].any()


def test_by_its_definition():
    image = noise(12, 9, seed=4)
    matrix = cv2.getRotationMatrix2D((4, 6), 20, 1.7)
    found = warp_affine(image, matrix, (15, 11))
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    at = lambda y, x: image[y, x] if 0 <= y < 12 and 0 <= x < 9 else np.zeros(3)  # noqa: E731
    for y in range(15):
        for x in range(11):
            u, v, _ = back @ [x, y, 1]
            i, j = int(np.floor(v)), int(np.floor(u))
            b, a = v - i, u - j
            top = at(i, j) * (1 - a) + at(i, j + 1) * a
            bottom = at(i + 1, j) * (1 - a) + at(i + 1, j + 1) * a
            assert np.abs(found[y, x] - (top * (1 - b) + bottom * b)).max() < 1.01


def test_what_lies_outside_is_black_however_far():
    for far in (1e4, 1e9, 1e15):
        assert not warp_affine(noise(8, 8), scaled(1, far, -far), (5, 5)).any()


def test_strips_join_without_a_seam(monkeypatch):
    image, matrix = noise(50, 60), scaled(2.3, -11, -7.5)
    whole = warp_affine(image, matrix, (100, 80))
    monkeypatch.setattr("edgevit.tasks.pixels.warp.STRIP_VALUES", 80 * 3 * 7)
    assert np.array_equal(warp_affine(image, matrix, (100, 80)), whole)


def test_any_number_of_channels():
    image = noise(20, 20)
    matrix = scaled(1.5, 0.5, 0.25)
    one = warp_affine(image[..., :1], matrix, (20, 20))
    assert np.array_equal(one, warp_affine(image, matrix, (20, 20))[..., :1])


@pytest.mark.parametrize("udp", [True, False])
def test_a_regions_corners(udp):
    matrix = region_matrix((100.0, 80.0), (60.0, 80.0), (256, 192), udp)
    corners = np.array([[70, 40, 1], [130, 120, 1]]).T
    spans = (191, 255) if udp else (192, 256)
    assert np.allclose(matrix @ corners, np.array([[0, 0], spans]).T)
    assert np.allclose(inverse(matrix) @ [*spans, 1], [130, 120])


@pytest.mark.parametrize(
    "matrix",
    [np.zeros((2, 3)), np.array([[1, 2, 0], [2, 4, 0.0]]), np.diag((1e200, 1e200, 0))[:2]],
)
def test_a_matrix_without_an_inverse_is_refused(matrix):
    with pytest.raises(UsageError, match="can be inverted"):
        warp_affine(noise(4, 4), matrix, (4, 4))
    with pytest.raises(UsageError, match="can be inverted"):
        warp_affine(noise(4, 4), np.full((2, 3), np.nan), (4, 4))


def test_what_is_no_picture_is_refused():
    with pytest.raises(UsageError, match="uint8"):
        warp_affine(np.zeros((4, 4, 3), np.float32), scaled(1, 0, 0), (4, 4))
    with pytest.raises(UsageError, match="at least 1 pixel"):
        warp_affine(noise(4, 4), scaled(1, 0, 0), (0, 4))
