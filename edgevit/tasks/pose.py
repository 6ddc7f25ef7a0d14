"""Keypoints around a top-down pose network: a person's box to its input, its heatmaps to the photo.

Source: mmpose 0.24 as ViTPose uses it (datasets/pipelines/top_down_transform.py, `TopDownAffine`;
core/evaluation/top_down_eval.py, `keypoints_from_heatmaps`; apis/inference.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgevit.errors import BundleError, UsageError
from edgevit.tasks.heatmaps import find_peaks, refine_dark, refine_quarter
from edgevit.tasks.keypoints import Skeleton
from edgevit.tasks.resize import FloatArray, Picture, Size
from edgevit.tasks.warp import Point, region_matrix, warp_affine

Box = tuple[float, float, float, float]  # x, y, width, height in px of the photo
Decoder = Literal["dark", "default"]

LONGEST_SIDE = 4096  # of a network's input: a manifest that asks for more is refused
LONGEST_BOX = 1e6  # px
PADDING = 1.25  # of a person's box in training and test


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a box of a photo becomes a network's input: warped RGB, `(value - mean) / std` on 0..255.

    size is (height, width) in pixels; mean and std are one number a channel, red first; the box is
    widened or heightened to the input's proportions and then enlarged by `padding`. udp: the warp
    and the way back are those of unbiased data processing, with which ViTPose was trained.
    Raises `BundleError` where a value is out of bounds.
    """

    size: Size
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    padding: float = PADDING
    udp: bool = True

    def __post_init__(self) -> None:
        if not all(2 <= side <= LONGEST_SIDE for side in self.size):
            raise _broken(f"size {list(self.size)} is outside 2..{LONGEST_SIDE}")
        if (
            not all(math.isfinite(value) for value in (*self.mean, *self.std))
            or min(self.std) < 1e-6
        ):
            raise _broken("mean must be finite, and std finite and at least 1e-6")
        if not 0.1 <= self.padding <= 10:
            raise _broken(f"padding {self.padding} is outside 0.1..10")

    def to_json(self) -> dict[str, object]:
        """The object in a manifest: `fit` "box", `size` [H, W], `mean`, `std`, `padding`, `udp`."""
        return {
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "fit": "box",
            "padding": self.padding,
            "udp": self.udp,
        }

    @classmethod
    def from_json(cls, value: object) -> "Preprocessing":
        """Read what `to_json` wrote; raises `BundleError` on a missing or unknown entry."""
        if not isinstance(value, dict) or set(value) != _ENTRIES:
            raise _broken(f"it must hold exactly {', '.join(sorted(_ENTRIES))}")
        if value["fit"] != "box" or not isinstance(value["udp"], bool):
            raise _broken("fit must be 'box', and udp true or false")
        size = _numbers(value["size"], 2, "size")
        if not all(isinstance(side, int) for side in size):
            raise _broken("size must be two whole numbers")
        mean = _numbers(value["mean"], 3, "mean")
        std = _numbers(value["std"], 3, "std")
        (padding,) = _numbers([value["padding"]], 1, "padding")
        return cls(
            size=(int(size[0]), int(size[1])),
            mean=(float(mean[0]), float(mean[1]), float(mean[2])),
            std=(float(std[0]), float(std[1]), float(std[2])),
            padding=float(padding),
            udp=value["udp"],
        )


_ENTRIES = frozenset({"size", "mean", "std", "fit", "padding", "udp"})


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A network's input and what is needed to bring its output back to the photo."""

    tensor: FloatArray  # [1, 3, H, W]
    original_size: Size  # of the photo, height and width
    center: Point  # of the warped region, px of the photo
    extent: Point  # its width and height, px of the photo
    udp: bool


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person's keypoints in the photo."""

    points: FloatArray  # [K, 2] x and y in px; whole numbers are pixel centers
    scores: FloatArray  # [K], the heatmaps' peaks; a point is absent where it is not above 0

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


def box_region(box: Box, size: Size, padding: float = PADDING) -> tuple[Point, Point]:
    """Center and extent (width, height) in px of the region that the network sees of a box.

    The shorter side, by the proportions of `size` (height, width), grows to them; then both grow by
    `padding` (mmpose's `_xywh2cs`, without its unit of 200 px).
    Raises `UsageError` on a box that is not finite, or empty.
    """
    x, y, width, height = box
    if not all(math.isfinite(value) and abs(value) <= LONGEST_BOX for value in box):
        raise UsageError(f"A box is four finite numbers of pixels, not {tuple(box)}.")
    if width <= 0 or height <= 0:
        raise UsageError(f"A box has a width and a height above 0, not {width:g} and {height:g}.")
    aspect = size[1] / size[0]
    center = x + width / 2, y + height / 2
    if width > aspect * height:
        height = width / aspect
    else:
        width = height * aspect
    return center, (width * padding, height * padding)


def preprocess(image: Picture, spec: Preprocessing, box: Box | None = None) -> Prepared:
    """Make the network's input from one person's box in a photo, uint8 RGB [H, W, 3].

    Without a box the whole photo is taken for one, as mmpose does. What the region holds outside
    the photo is black.
    Raises `UsageError` on another dtype or shape, and on an empty box.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"A photo is uint8 [H, W, 3], not {image.dtype} of shape {image.shape}.")
    height, width = image.shape[:2]
    center, extent = box_region(box or (0, 0, width, height), spec.size, spec.padding)
    warped = warp_affine(image, region_matrix(center, extent, spec.size, spec.udp), spec.size)
    tensor = np.empty((1, 3, *spec.size), np.float32)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        table = ((np.arange(256) - mean) / std).astype(np.float32)
        np.take(table, warped[..., channel], out=tensor[0, channel])
    return Prepared(tensor, (height, width), center, extent, spec.udp)


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


def decode(heatmaps: FloatArray, prepared: Prepared, decoder: Decoder | None = None) -> Pose:
    """The keypoints in the photo of one person's heatmaps, float32 [1, K, h, w] or [K, h, w].

    decoder: "dark" refines peaks by `refine_dark`, "default" by `refine_quarter`; without one,
    "dark" after a UDP warp, else "default", as mmpose does.
    Raises `UsageError` on another dtype, rank or decoder.
    """
    maps = heatmaps[None] if heatmaps.ndim == 3 else heatmaps
    if len(maps) != 1:
        raise UsageError(f"Heatmaps are decoded for one box at a time, not {len(maps)}.")
    (pose,) = decode_all(maps, (prepared,), decoder)
    return pose


def decode_all(
    heatmaps: FloatArray, prepared: Sequence[Prepared], decoder: Decoder | None = None
) -> list[Pose]:
    """`decode` for several boxes: float32 [N, K, h, w], and what each was prepared from."""
    peaks, scores = find_peaks(heatmaps)
    if len(prepared) != len(heatmaps):
        raise UsageError(f"There are {len(heatmaps)} heatmaps, but {len(prepared)} boxes.")
    udp = all(one.udp for one in prepared)
    match decoder or ("dark" if udp else "default"):
        case "dark":
            points = refine_dark(heatmaps, peaks)
        case "default":
            points = refine_quarter(heatmaps, peaks)
        case _:
            raise UsageError(f"There is no decoder {decoder!r}; there are 'dark' and 'default'.")
    size = heatmaps.shape[2], heatmaps.shape[3]
    return [Pose(to_photo(points[n], one, size), scores[n]) for n, one in enumerate(prepared)]


def to_photo(points: FloatArray, prepared: Prepared, size: Size) -> FloatArray:
    """Points [K, 2] of a heatmap of `size` (height, width) in px of the photo (`transform_preds`).

    With UDP `X = x * w / (W - 1) + cx - w / 2`, else `X = x * w / W + cx - w / 2`.
    """
    less = 1 if prepared.udp else 0
    spans = np.array([max(1, size[1] - less), max(1, size[0] - less)])
    extent, center = np.array(prepared.extent), np.array(prepared.center)
    photo: FloatArray = (points * (extent / spans) + center - extent / 2).astype(np.float32)
    return photo


def _numbers(value: object, count: int, name: str) -> list[int | float]:
    if not isinstance(value, list) or len(value) != count:
        raise _broken(f"{name} must be {count} numbers")
    # The bound keeps whole numbers of any length out of float(); NaN fails it too.
    if not all(type(item) in (int, float) and abs(item) < 1e9 for item in value):
        raise _broken(f"{name} must be {count} numbers")
    return value


def _broken(what: str) -> BundleError:
    return BundleError(
        f"The preprocessing of this bundle cannot be used: {what}.",
        next="edgevit export MODEL --target TARGET -o OUT",
    )
