"""Bilinear resizing in numpy: of logits as torch does it, and of pictures as OpenCV does it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]
Size = tuple[int, int]  # height, width

# OpenCV's fixed point (modules/imgproc/src/resize.cpp): 11 bits a weight.
COEFFICIENT_BITS = 11
# Source rows are gathered this many output values at a time, so that a resize of a huge picture
# stays small.
STRIP_VALUES = 1 << 22


@dataclass(frozen=True, slots=True)
class Taps:
    """Where each output of one axis reads: `w0 * x[first] + w1 * x[second]`, all of length n_out.

    `first` never falls and `second` is `min(first + 1, n_in - 1)`.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    w0: FloatArray
    w1: FloatArray

    def part(self, start: int, stop: int) -> "Taps":
        """The taps of output positions start..stop, still reading the whole input axis."""
        span = slice(start, stop)
        return Taps(self.first[span], self.second[span], self.w0[span], self.w1[span])

    def moved(self, offset: int) -> "Taps":
        """The same taps for an input whose first `offset` positions were cut off."""
        return Taps(self.first - offset, self.second - offset, self.w0, self.w1)


def taps(n_in: int, n_out: int) -> Taps:
    """Half-pixel taps (`align_corners=False`) of one axis, in torch's float32 arithmetic.

    Follows `area_pixel_compute_source_index` of ATen/native/UpSample.h, every step in float32:
    `source = max(scale * (i + 0.5) - 0.5, 0)` with `scale = n_in / n_out`.
    """
    check_size((n_in, n_out))
    scale = np.float32(n_in) / np.float32(n_out)
    half = np.float32(0.5)
    source = np.maximum(scale * (np.arange(n_out, dtype=np.float32) + half) - half, np.float32(0))
    first = np.minimum(np.floor(source).astype(np.intp), n_in - 1)
    w1 = np.clip(source - first.astype(np.float32), np.float32(0), np.float32(1))
    return Taps(first, np.minimum(first + 1, n_in - 1), np.float32(1) - w1, w1)


def apply_taps(x: FloatArray, rows: Taps, columns: Taps) -> FloatArray:
    """Interpolate the last two axes of `x`, columns first, then rows; no fused multiply-add.

    float32 [..., h, w] -> float32 [..., len(rows), len(columns)]. The fixed order makes the result
    the same on every machine, and makes each value monotone in each of its four corners, on which
    `mask.exact_mask` rests.
    """
    return _lerp(_lerp(x, columns, -1), rows, -2)


def bilinear(x: FloatArray, size: Size) -> FloatArray:
    """Resize float32 [C,h,w] or [N,C,h,w] to [..., H, W]; half-pixel centers, no antialiasing.

    Equal to the last bit to `F.interpolate(mode="bilinear", align_corners=False)` of torch's
    separable CPU kernel, the one that large contiguous maps take, in its baseline build
    (`ATEN_CPU_CAPABILITY=default`). The AVX2 and AVX-512 builds contract each interpolation to a
    fused multiply-add, and so differ from the baseline by rounding.
    Raises `UsageError` on another dtype or rank, and on a size below 1.
    """
    if x.dtype != np.float32 or x.ndim not in (3, 4):
        raise UsageError(
            f"Only float32 maps of 3 or 4 axes are interpolated, not {x.dtype} of shape {x.shape}."
        )
    check_size((*size, *x.shape[-2:]))
    return apply_taps(x, taps(x.shape[-2], size[0]), taps(x.shape[-1], size[1]))


def resize_picture(image: Picture, size: Size) -> Picture:
    """Resize uint8 [h,w,channels] to [H,W,channels] in the arithmetic of `cv2.INTER_LINEAR`.

    No antialiasing: mmcv's Resize, with which the published networks were trained and measured, has
    none either. As in OpenCV, halving both sides exactly is the rounded mean of 2x2 pixels.
    Raises `UsageError` on another dtype or rank, and on a size below 1.
    """
    if image.dtype != np.uint8 or image.ndim != 3:
        raise UsageError(
            f"A picture is uint8 [H,W,channels], not {image.dtype} of shape {image.shape}."
        )
    check_size((*size, *image.shape[:2]))
    height, width = size
    if image.shape[:2] == size:
        return image.copy()
    if image.shape[:2] == (2 * height, 2 * width):
        return _halve(image)
    x0, x1, a0, a1 = _fixed_taps(image.shape[1], width, clamp_weights=True)
    y0, y1, b0, b1 = _fixed_taps(image.shape[0], height, clamp_weights=False)
    result = np.empty((height, width, image.shape[2]), np.uint8)
    step = max(1, STRIP_VALUES // (2 * width * image.shape[2]))
    for start in range(0, height, step):
        span = slice(start, min(start + step, height))
        top = _blend_columns(image, y0[span], x0, x1, a0, a1)
        bottom = _blend_columns(image, y1[span], x0, x1, a0, a1)
        # The two shifts before the sum are OpenCV's: they keep a product within 16 bits of its
        # vector unit.
        total = (b0[span, None, None] * (top >> 4)) >> 16
        total += (b1[span, None, None] * (bottom >> 4)) >> 16
        result[span] = np.clip((total + 2) >> 2, 0, 255)
    return result


def nearest_index(n_in: int, n_out: int) -> NDArray[np.intp]:
    """The input `floor((i + 0.5) * n_in / n_out)` of each output i, in exact integers."""
    return ((2 * np.arange(n_out, dtype=np.intp) + 1) * n_in) // (2 * n_out)


def check_size(sides: tuple[int, ...]) -> None:
    """Raise `UsageError` unless every side is at least one pixel."""
    if min(sides) < 1:
        raise UsageError(f"Every side must be at least 1 pixel, not {' x '.join(map(str, sides))}.")


def _lerp(x: FloatArray, axis_taps: Taps, axis: int) -> FloatArray:
    w0, w1 = axis_taps.w0, axis_taps.w1
    if axis == -2:
        w0, w1 = w0[:, None], w1[:, None]
    result = np.take(x, axis_taps.first, axis=axis)
    result *= w0
    other = np.take(x, axis_taps.second, axis=axis)
    other *= w1
    result += other
    return result


def _fixed_taps(
    n_in: int, n_out: int, *, clamp_weights: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
    """OpenCV's taps of one axis with weights of 11 bits.

    Outside the picture OpenCV repeats the border pixel; along x it also sets the weights to (1, 0),
    along y not, which the truncating shifts let through as a difference of one.
    """
    scale = 1.0 / (n_out / n_in)
    source = ((np.arange(n_out) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(source).astype(np.intp)
    weight = source - first.astype(np.float32)
    if clamp_weights:
        weight[(first < 0) | (first >= n_in - 1)] = 0
    unit = np.float32(1 << COEFFICIENT_BITS)
    w0 = np.rint((np.float32(1) - weight) * unit).astype(np.int32)
    w1 = np.rint(weight * unit).astype(np.int32)
    return np.clip(first, 0, n_in - 1), np.clip(first + 1, 0, n_in - 1), w0, w1


def _blend_columns(
    image: Picture,
    rows: NDArray[np.intp],
    x0: NDArray[np.intp],
    x1: NDArray[np.intp],
    a0: NDArray[np.int32],
    a1: NDArray[np.int32],
) -> NDArray[np.int32]:
    """`a0 * image[rows, x0] + a1 * image[rows, x1]`, int32 [rows, columns, channels]."""
    left = image[rows[:, None], x0].astype(np.int32)
    left *= a0[:, None]
    right = image[rows[:, None], x1].astype(np.int32)
    right *= a1[:, None]
    left += right
    return left


def _halve(image: Picture) -> Picture:
    total = image[0::2, 0::2].astype(np.uint16)
    total += image[0::2, 1::2]
    total += image[1::2, 0::2]
    total += image[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)
