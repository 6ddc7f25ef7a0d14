"""Peaks of keypoint heatmaps, finer than their pixels: DARK and the quarter-pixel rule.

Source: mmpose 0.24, core/evaluation/top_down_eval.py; Zhang et al., "Distribution-Aware Coordinate
Representation for Human Pose Estimation" (CVPR 2020).
"""

import numpy as np

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import FloatArray

KERNEL, SIGMA = 11, 2.0  # of the blur before DARK; an 11-tap blur of cv2 without a sigma has 2.0
DARK_FLOOR, DARK_CEILING = 1e-3, 50.0
QUARTER = 0.25  # px of the heatmap


def find_peaks(heatmaps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """x and y of the highest value of each map, [N, K, 2], and the values, [N, K].

    The first in rows from the top among equals; (-1, -1) where no value is above 0 (mmpose's
    `_get_max_preds`). Raises `UsageError` on anything else than float32 [N, K, h, w].
    """
    if heatmaps.dtype != np.float32 or heatmaps.ndim != 4 or not heatmaps.size:
        raise UsageError(
            f"Heatmaps are float32 [N, K, h, w], not {heatmaps.dtype} of shape {heatmaps.shape}."
        )
    flat = heatmaps.reshape(*heatmaps.shape[:2], -1)
    index = flat.argmax(axis=2)
    scores = np.take_along_axis(flat, index[..., None], axis=2)[..., 0]
    width = heatmaps.shape[3]
    points = np.stack((index % width, index // width), axis=-1).astype(np.float32)
    points[~(scores > 0)] = -1
    return points, scores


def refine_quarter(heatmaps: FloatArray, peaks: FloatArray) -> FloatArray:
    """mmpose's default: a quarter of a pixel towards the higher neighbor, [N, K, 2].

    Peaks closer than two pixels to a border (one to the last but one line) stay where they are.
    """
    refined = peaks.copy()
    height, width = heatmaps.shape[2:]
    x, y = peaks[..., 0].astype(np.intp), peaks[..., 1].astype(np.intp)
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    n, k = np.nonzero(inside)
    x, y = x[inside], y[inside]
    refined[n, k, 0] += QUARTER * np.sign(heatmaps[n, k, y, x + 1] - heatmaps[n, k, y, x - 1])
    refined[n, k, 1] += QUARTER * np.sign(heatmaps[n, k, y + 1, x] - heatmaps[n, k, y - 1, x])
    return refined


def refine_dark(heatmaps: FloatArray, peaks: FloatArray) -> FloatArray:
    """DARK in its UDP form: one Newton step on the log of the blurred map, float32 [N, K, 2].

    `p' = p - (H + eps I)^-1 g`, with differences of one pixel, the mixed one along the falling
    diagonal (mmpose's `post_dark_udp`, kernel 11). Maps are continued by their border.
    """
    # Whole maps are blurred, though nine values of each are read: a peak at (-1, -1), which means
    # nothing, is to come out as official code has it, and that reads before the map's beginning.
    logs = np.log(np.clip(_blurred(heatmaps), np.float32(DARK_FLOOR), np.float32(DARK_CEILING)))
    padded = np.pad(logs, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    count, keypoints, rows, line = padded.shape
    flat = padded.ravel()
    maps = np.arange(count * keypoints).reshape(count, keypoints) * (rows * line)
    at = maps + ((peaks[..., 1] + 1) * line + peaks[..., 0] + 1).astype(np.intp)
    middle, right, left = flat[at], flat[at + 1], flat[at - 1]
    below, above = flat[at + line], flat[at - line]
    falling = flat[at + line + 1], flat[at - line - 1]
    gx, gy = 0.5 * (right - left), 0.5 * (below - above)
    eps = float(np.finfo(np.float32).eps)
    xx = (right - 2 * middle + left).astype(np.float64) + eps
    yy = (below - 2 * middle + above).astype(np.float64) + eps
    xy = 0.5 * (falling[0] - right - below + middle + middle - left - above + falling[1])
    determinant = xx * yy - xy.astype(np.float64) ** 2
    # Where the map is exactly degenerate there is no step to take.
    scale = np.divide(1.0, determinant, out=np.zeros_like(determinant), where=determinant != 0)
    step = np.stack((yy * gx - xy * gy, xx * gy - xy * gx), axis=-1) * scale[..., None]
    refined: FloatArray = (peaks - step).astype(np.float32)
    return refined


def _blurred(heatmaps: FloatArray) -> FloatArray:
    """Every map under a Gaussian of 11 taps and sigma 2, mirrored at its border without repeating
    it, as `cv2.GaussianBlur` does.
    """
    radius = KERNEL // 2
    taps = np.exp(-((np.arange(KERNEL) - radius) ** 2) / (2 * SIGMA**2))
    taps = (taps / taps.sum()).astype(np.float32)
    maps = heatmaps
    for axis in (3, 2):
        frame = [(radius, radius) if axis == other else (0, 0) for other in range(4)]
        padded = np.pad(maps, frame, mode="reflect")
        maps = np.zeros_like(heatmaps)
        for start, weight in enumerate(taps):
            maps += weight * padded.take(range(start, start + heatmaps.shape[axis]), axis=axis)
    return maps
