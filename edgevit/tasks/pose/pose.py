"""Keypoints after a top-down pose network: its heatmaps to points of the photo, the flip test.

Source: mmpose 0.24 as ViTPose uses it (datasets/pipelines/top_down_transform.py, `TopDownAffine`;
core/evaluation/top_down_eval.py, `keypoints_from_heatmaps`; apis/inference.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import FloatArray, Size
from edgevit.tasks.pose.heatmaps import find_peaks, refine_dark, refine_quarter
from edgevit.tasks.pose.skeletons import Skeleton
from edgevit.tasks.preprocessing import Prepared, Region

Decoder = Literal["dark", "default"]


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person's keypoints in the photo."""

    points: FloatArray  # [K, 2] x and y in px; whole numbers are pixel centers
    scores: FloatArray  # [K], the heatmaps' peaks; a point is absent where it is not above 0
    heatmaps: FloatArray | None = None  # [K, h, w], where the points were read from

    @property
    def keypoints(self) -> FloatArray:
        """[K, 3]: x, y and score."""
        return np.concatenate((self.points, self.scores[:, None]), axis=1)

    def to_json(self, skeleton: Skeleton) -> list[dict[str, object]]:
        """One object a keypoint: `name`, `x`, `y` (px) and `score`.

        Raises `UsageError` where the skeleton has another number of keypoints.
        """
        if len(skeleton.names) != len(self.points):
            raise UsageError(
                f"The pose has {len(self.points)} keypoints, the skeleton {len(skeleton.names)}."
            )
        return [
            {
                "name": name,
                "x": round(float(x), 2),
                "y": round(float(y), 2),
                "score": round(float(score), 4),
            }
            for name, (x, y, score) in zip(skeleton.names, self.keypoints, strict=True)
        ]


def mirror(tensor: FloatArray) -> FloatArray:
    """A network's input mirrored left to right, for the flip test."""
    return np.ascontiguousarray(tensor[..., ::-1])


def average_mirrored(plain: FloatArray, mirrored: FloatArray, skeleton: Skeleton) -> FloatArray:
    """The flip test: mean of the heatmaps [N, K, h, w] and of the mirrored input's, turned back.

    Raises `UsageError` where shapes or the number of keypoints disagree.
    """
    if plain.shape != mirrored.shape or plain.ndim != 4:
        raise UsageError(f"The flip test needs two equal maps, not {plain.shape} {mirrored.shape}.")
    if plain.shape[1] != len(skeleton.names):
        raise UsageError(
            f"The maps are of {plain.shape[1]} keypoints, the skeleton of {len(skeleton.names)}."
        )
    back = mirrored[:, list(skeleton.mirrored), :, ::-1]
    mean: FloatArray = (plain + back) * np.float32(0.5)
    return mean


def decode_heatmaps(
    heatmaps: FloatArray, prepared: Prepared, decoder: Decoder | None = None
) -> Pose:
    """The keypoints in the photo of one person's heatmaps, float32 [1, K, h, w] or [K, h, w].

    decoder: "dark" refines peaks by `refine_dark`, "default" by `refine_quarter`; without one,
    "dark" after a UDP warp, else "default", as mmpose does.
    Raises `UsageError` on another dtype, rank or decoder.
    """
    maps = heatmaps[None] if heatmaps.ndim == 3 else heatmaps
    if len(maps) != 1:
        raise UsageError(f"Heatmaps are decoded for one box at a time, not {len(maps)}.")
    (pose,) = decode_batch(maps, (prepared,), decoder)
    return pose


def decode_batch(
    heatmaps: FloatArray, prepared: Sequence[Prepared], decoder: Decoder | None = None
) -> list[Pose]:
    """The same for several boxes: float32 [N, K, h, w], and what each was prepared from."""
    peaks, scores = find_peaks(heatmaps)
    if len(prepared) != len(heatmaps):
        raise UsageError(f"There are {len(heatmaps)} heatmaps, but {len(prepared)} boxes.")
    regions = [_region(made) for made in prepared]
    udp = all(region.udp for region in regions)
    match decoder or ("dark" if udp else "default"):
        case "dark":
            points = refine_dark(heatmaps, peaks)
        case "default":
            points = refine_quarter(heatmaps, peaks)
        case _:
            raise UsageError(f"There is no decoder {decoder!r}; there are 'dark' and 'default'.")
    size = heatmaps.shape[2], heatmaps.shape[3]
    return [Pose(to_photo(points[n], region, size), scores[n]) for n, region in enumerate(regions)]


def to_photo(points: FloatArray, region: Region, size: Size) -> FloatArray:
    """Points [K, 2] of a heatmap of `size` (height, width) in px of the photo (`transform_preds`).

    With UDP `X = x * w / (W - 1) + cx - w / 2`, else `X = x * w / W + cx - w / 2`.
    """
    less = 1 if region.udp else 0
    spans = np.array([max(1, size[1] - less), max(1, size[0] - less)])
    extent, center = np.array(region.extent), np.array(region.center)
    photo: FloatArray = (points * (extent / spans) + center - extent / 2).astype(np.float32)
    return photo


def _region(prepared: Prepared) -> Region:
    if prepared.region is None:
        raise UsageError("Keypoints come back through the box that the input was made from.")
    return prepared.region
