"""Affine warps of pictures in numpy: a region of the photo to a network's input and back."""

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import Picture, Size, check_size

Matrix = NDArray[np.float64]  # [2, 3]
Point = tuple[float, float]  # x, y

# Positions are rounded to 1/1024 of a pixel, and weights have as many steps, so that four weighted
# bytes stay within 32 bits. OpenCV up to 4 rounds further, to 1/32; OpenCV 5 not at all.
WEIGHT_BITS = 10
STRIP_VALUES = 1 << 21  # output values gathered at once
FARTHEST = 1 << 20  # px; positions beyond lie outside every picture and must not overflow


def region_matrix(center: Point, extent: Point, size: Size, udp: bool) -> Matrix:
    """The matrix that brings a region of the photo to an input of `size` (height, width).

    center: of the region, x and y in px. extent: its width and height in px. Pixel centers are
    whole numbers. udp: unbiased data processing, where the corners of the region meet the corner
    pixels' centers, `x' = (x - cx + w / 2) * (W - 1) / w` (Huang et al., CVPR 2020; mmpose,
    `get_warp_matrix` without rotation); else `x' = (x - cx + w / 2) * W / w` (mmpose,
    `get_affine_transform`).
    """
    spans = [side - 1 if udp else side for side in (size[1], size[0])]
    matrix = np.zeros((2, 3), np.float64)
    for axis in (0, 1):
        scale = spans[axis] / extent[axis]
        matrix[axis, axis] = scale
        matrix[axis, 2] = scale * (extent[axis] / 2 - center[axis])
    return matrix


def warp_affine(image: Picture, matrix: Matrix, size: Size) -> Picture:
    """uint8 [h, w, channels] -> [H, W, channels], bilinear, zeros from outside the photo.

    matrix takes (x, y, 1) of the photo to (x, y) of the result, as for `cv2.warpAffine`. Once
    positions are rounded all arithmetic is in integers, so that it is the same on every machine.
    Raises `UsageError` on another dtype or rank, a size below 1, and a matrix without an inverse.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise UsageError(
            f"A picture is uint8 [H,W,channels], not {image.dtype} of shape {image.shape}."
        )
    check_size((*size, *image.shape[:2]))
    back = inverse(matrix)
    height, width, channels = image.shape
    result = np.empty((*size, channels), np.uint8)
    unit, half = 1 << WEIGHT_BITS, 1 << (2 * WEIGHT_BITS - 1)
    step = max(1, STRIP_VALUES // (size[1] * channels))
    for top in range(0, size[0], step):
        y = np.arange(top, min(top + step, size[0]))
        column, right = _positions(back[0], size[1], y)
        row, below = _positions(back[1], size[1], y)
        total = np.full((len(y), size[1], channels), half, np.int32)
        for rows, wy in ((row, unit - below), (row + 1, below)):
            for columns, wx in ((column, unit - right), (column + 1, right)):
                inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
                values = image[rows.clip(0, height - 1), columns.clip(0, width - 1)]
                total += values.astype(np.int32) * (wy * wx * inside)[..., None]
        result[top : top + len(y)] = total >> (2 * WEIGHT_BITS)
    return result


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of an affine map as [2, 3]; raises `UsageError` where there is none."""
    a, b, c, d = (float(value) for value in matrix[:, :2].ravel())
    determinant = a * d - b * c
    if not np.isfinite([*matrix.ravel(), determinant]).all() or abs(determinant) < 1e-12:
        raise UsageError("A warp needs a finite matrix that can be inverted.")
    linear = np.array([[d, -b], [-c, a]]) / determinant
    return np.concatenate((linear, -linear @ matrix[:, 2:]), axis=1)


def _positions(
    row: NDArray[np.float64], width: int, y: NDArray[np.intp]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Where each output pixel of some lines reads along one axis: whole pixel, and steps beyond.

    Positions are cut to what still lies outside of every picture.
    """
    one = 1 << WEIGHT_BITS
    along = np.rint(row[0] * np.arange(width) * one)
    start = np.rint((row[1] * y + row[2]) * one)
    fixed = np.clip(start[:, None] + along, -FARTHEST * one, FARTHEST * one).astype(np.int32)
    return fixed >> WEIGHT_BITS, fixed & (one - 1)
