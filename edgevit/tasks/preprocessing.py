"""From a photo, a person's box in it, or a clip's frames to a network's input, as a manifest says.

Sources of the rules: mmcv's Resize (stretch, pad), torchvision's Resize and CenterCrop as timm and
DeiT use them (crop), mmpose 0.24's TopDownAffine (box), SlowFast's uniform_crop (clips).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, cast

import numpy as np
from PIL import Image

from edgevit.errors import BundleError, PictureError, UsageError
from edgevit.tasks.pixels.resize import FloatArray, Picture, Size, resize_picture
from edgevit.tasks.pixels.warp import Point, region_matrix, warp_affine

Fit = Literal["stretch", "pad", "crop", "box"]
Resize = Literal["bilinear", "bilinear-antialias", "bicubic"]
Channels = tuple[float, float, float]
Box = tuple[float, float, float, float]  # x, y, width, height in px of the photo

PADDING = 1.25  # of a person's box in training and test
FITS: tuple[Fit, ...] = ("stretch", "pad", "crop", "box")
PILLOW = {
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
RESIZES = ("bilinear", *PILLOW)

# Bounds for manifests from untrusted sources.
LONGEST_SIDE = 4096  # px of a network's input
MOST_FRAMES = 1024
MOST_PIXELS = 1 << 26  # of an input, over all frames
LONGEST_BOX = 1e6  # px
RESIZED_PIXELS = 64_000_000  # of a photo before its middle is cut out


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a photo or a clip becomes a network's input: RGB on uint8, then `(value - mean) / std`.

    size: (height, width) in px. mean and std: one number a channel on 0..255, red first.
    fit: "stretch" resizes both sides to `size`. "pad" keeps the photo's proportions, puts it at the
    top left and fills the rest with zeros after normalization, that is with the mean color. "crop"
    resizes it so that it covers `floor(size / crop)`, and cuts `size` out of the middle. "box"
    warps a box, widened or heightened to the input's proportions and enlarged by `padding`; udp:
    the warp and the way back are those of unbiased data processing.
    resize: "bilinear" is OpenCV's, without antialiasing; "bilinear-antialias" and "bicubic" are
    Pillow's, which antialias.
    frames: of a clip, 0 for a single picture. stride: pictures of a video, at 30 a second, from one
    frame to the next; 0 spreads the frames over all of it.
    What a fit does not use stays at its default. Raises `BundleError` where a value is out of
    bounds.
    """

    size: Size
    mean: Channels
    std: Channels
    fit: Fit = "stretch"
    resize: Resize = "bilinear"
    crop: float = 1.0
    padding: float = PADDING
    udp: bool = True
    frames: int = 0
    stride: int = 1

    def __post_init__(self) -> None:
        least = 2 if self.fit == "box" else 1  # the warp divides by side - 1
        if not all(least <= side <= LONGEST_SIDE for side in self.size):
            raise _broken(f"size {list(self.size)} is outside {least}..{LONGEST_SIDE}")
        if (
            not all(math.isfinite(value) for value in (*self.mean, *self.std))
            or min(self.std) < 1e-6
        ):
            raise _broken("mean must be finite, and std finite and at least 1e-6")
        if self.fit not in FITS:
            raise _broken(f"fit {self.fit!r} is none of {', '.join(FITS)}")
        if self.resize not in RESIZES:
            raise _broken(f"resize {self.resize!r} is none of {', '.join(RESIZES)}")
        if not 0.1 <= self.crop <= 1:
            raise _broken(f"crop {self.crop} is outside 0.1..1")
        if not 0.1 <= self.padding <= 10:
            raise _broken(f"padding {self.padding} is outside 0.1..10")
        if not (0 <= self.frames <= MOST_FRAMES and 0 <= self.stride <= MOST_FRAMES):
            raise _broken(f"frames and stride must be within 0..{MOST_FRAMES}")
        if self.size[0] * self.size[1] * max(1, self.frames) > MOST_PIXELS:
            raise _broken(f"its input has more than {MOST_PIXELS} pixels")
        if self.fit == "box" and self.frames:
            raise _broken("a box is of one picture, not of a clip")
        used = self._used()
        for field in fields(self):
            if field.name not in used and getattr(self, field.name) != field.default:
                raise _broken(f"{field.name} means nothing here")

    def _used(self) -> tuple[str, ...]:
        """The fields that this fit uses, in the order of a manifest."""
        return (
            *("size", "mean", "std", "fit"),
            *(("padding", "udp") if self.fit == "box" else ("resize",)),
            *(("crop",) if self.fit == "crop" else ()),
            *(("frames", "stride") if self.frames else ()),
        )

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width in px, before them the frames of a clip."""
        return (self.frames, *self.size) if self.frames else self.size

    def to_json(self) -> dict[str, object]:
        """The object in a manifest: `size` [H, W], `mean`, `std`, `fit`, and what the fit uses."""
        values = {name: getattr(self, name) for name in self._used()}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, value: object) -> "Preprocessing":
        """Read what `to_json` wrote; raises `BundleError` on a missing or unknown entry."""
        if not isinstance(value, dict) or not isinstance(value.get("fit"), str):
            raise _broken("it must hold size, mean, std and fit, a word")
        size = _numbers(value.get("size"), 2, "size")
        counts = [value.get("frames", 0), value.get("stride", 1)]
        if not all(type(count) is int for count in (*size, *counts)):
            raise _broken("size, frames and stride must be whole numbers")
        if not isinstance(value.get("udp", True), bool):
            raise _broken("udp must be true or false")
        (crop,) = _numbers([value.get("crop", 1.0)], 1, "crop")
        (padding,) = _numbers([value.get("padding", PADDING)], 1, "padding")
        spec = cls(
            size=(int(size[0]), int(size[1])),
            mean=_channels(value.get("mean"), "mean"),
            std=_channels(value.get("std"), "std"),
            fit=cast("Fit", value["fit"]),  # this and the next are checked by __post_init__
            resize=cast("Resize", value.get("resize", "bilinear")),
            crop=float(crop),
            padding=float(padding),
            udp=value.get("udp", True),
            frames=counts[0],
            stride=counts[1],
        )
        if set(value) != set(spec._used()):
            raise _broken(f"with fit {spec.fit} it must hold exactly {', '.join(spec._used())}")
        return spec


@dataclass(frozen=True, slots=True)
class Content:
    """The rectangle of a network's picture that shows the photo, in px."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Region:
    """The part of a photo that a box's input shows."""

    center: Point  # x, y in px of the photo
    extent: Point  # width and height in px of the photo
    udp: bool


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A network's input and what is needed to bring its output back to the photo."""

    tensor: FloatArray  # [1, 3, H, W], of a clip [1, 3, T, H, W]
    original_size: Size  # of the photo, height and width
    content: Content  # with fit "crop" it shows the photo's middle alone
    region: Region | None = None  # with fit "box"


def preprocess(image: Picture, spec: Preprocessing, box: Box | None = None) -> Prepared:
    """Make the network's input from a photo, uint8 RGB [H, W, 3].

    box: with fit "box", x, y, width and height in px; None takes the whole photo, as mmpose does.
    What a box's region holds outside the photo is black.
    Raises `UsageError` on another dtype or shape, on a box that is empty or not expected, and
    if the network takes clips; `PictureError` on a photo too thin to be resized.
    """
    _expect_photo(image)
    if spec.frames:
        raise UsageError(f"This network takes clips of {spec.frames} frames, not one picture.")
    original = (image.shape[0], image.shape[1])
    if spec.fit == "box":
        center, extent = box_region(
            box or (0, 0, original[1], original[0]), spec.size, spec.padding
        )
        warped = warp_affine(image, region_matrix(center, extent, spec.size, spec.udp), spec.size)
        tensor = normalized(warped, spec)
        return Prepared(
            tensor, original, Content(0, 0, *spec.size), Region(center, extent, spec.udp)
        )
    if box is not None:
        raise UsageError("This network takes whole pictures, no boxes.")
    fitted = _fitted(image, spec)
    tensor = np.zeros((1, 3, *spec.size), np.float32)
    height, width = fitted.shape[:2]
    tensor[:, :, :height, :width] = normalized(fitted, spec)
    return Prepared(tensor, original, Content(0, 0, height, width))


def preprocess_clip(pictures: Sequence[Picture], spec: Preprocessing) -> Prepared:
    """Make the network's input from the frames of a clip, each uint8 RGB [H, W, 3] of one size.

    Resized on uint8: SlowFast resizes normalized floats, which differs by rounding, half a level of
    255 at most. Raises `UsageError` on another number of frames and on frames of different sizes.
    """
    if not spec.frames:
        raise UsageError("This network takes single pictures, no clips.")
    if len(pictures) != spec.frames:
        raise UsageError(f"This network takes clips of {spec.frames} frames, not {len(pictures)}.")
    for picture in pictures:
        _expect_photo(picture)
    if len({picture.shape for picture in pictures}) != 1:
        raise UsageError("The frames of a clip must all have one size.")
    original = (pictures[0].shape[0], pictures[0].shape[1])
    tensor = np.zeros((1, 3, spec.frames, *spec.size), np.float32)
    height = width = 0
    for index, picture in enumerate(pictures):
        fitted = _fitted(picture, spec)
        height, width = fitted.shape[:2]
        tensor[:, :, index, :height, :width] = normalized(fitted, spec)
    return Prepared(tensor, original, Content(0, 0, height, width))


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


def whole_photo(image: Picture) -> Box:
    """The box that is all of a photo [H, W, 3]."""
    height, width = image.shape[:2]
    return 0.0, 0.0, float(width), float(height)


def normalized(image: Picture, spec: Preprocessing) -> FloatArray:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W]: `(value - mean) / std` in float64, rounded once."""
    result = np.empty((1, 3, *image.shape[:2]), np.float32)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        table = ((np.arange(256) - mean) / std).astype(np.float32)
        np.take(table, image[..., channel], out=result[0, channel])
    return result


def visible(tensor: FloatArray, spec: Preprocessing) -> Picture:
    """A network's input [1, 3, H, W] as the picture that it was made of, uint8 [H, W, 3]."""
    channels = tensor[0].astype(np.float64)
    levels = channels * np.array(spec.std)[:, None, None] + np.array(spec.mean)[:, None, None]
    return np.asarray(np.rint(levels).clip(0, 255).transpose(1, 2, 0), np.uint8)


def _fitted(image: Picture, spec: Preprocessing) -> Picture:
    """The photo as it stands in the input: of `spec.size`, with fit "pad" perhaps smaller."""
    original = (image.shape[0], image.shape[1])
    if spec.fit == "pad":
        return _resized(image, _inner_size(original, spec.size), spec.resize)
    if spec.fit == "stretch":
        return _resized(image, spec.size, spec.resize)
    resized = _resized(image, _covering_size(original, spec), spec.resize)
    top, left = (_offset(resized.shape[i] - spec.size[i], spec) for i in (0, 1))
    return resized[top : top + spec.size[0], left : left + spec.size[1]]


def _resized(image: Picture, size: Size, how: Resize) -> Picture:
    if how == "bilinear":
        return resize_picture(image, size)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size[1], size[0]), PILLOW[how]))


def _inner_size(photo: Size, frame: Size) -> Size:
    """The size of a photo that, proportions kept, just fits into the frame; 1 pixel at least."""
    scale = min(frame[0] / photo[0], frame[1] / photo[1])
    height, width = (min(frame[i], max(1, int(photo[i] * scale + 0.5))) for i in (0, 1))
    return height, width


def _covering_size(photo: Size, spec: Preprocessing) -> Size:
    """The size of a photo that, proportions kept, just covers `floor(size / crop)`.

    The side with nothing to spare is exactly that, the other cut to a whole number (torchvision's
    `_compute_resized_output_size`; timm's `transforms_imagenet_eval` for `floor(size / crop)`).
    """
    height, width = (math.floor(side / spec.crop) for side in spec.size)
    if photo[0] * width <= photo[1] * height:
        width = height * photo[1] // photo[0]
    else:
        height = width * photo[0] // photo[1]
    if height * width > RESIZED_PIXELS:
        raise PictureError(
            f"A photo of {photo[1]} x {photo[0]} is too narrow to cut out a square.",
            next="edgevit run BUNDLE CROPPED_PICTURE -o DIR",
        )
    return height, width


def _offset(rest: int, spec: Preprocessing) -> int:
    """Where the middle begins: torchvision rounds half a pixel to even, SlowFast up."""
    return (rest + 1) // 2 if spec.frames else round(rest / 2)


def _expect_photo(image: Picture) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"A photo is uint8 [H, W, 3], not {image.dtype} of shape {image.shape}.")


def _channels(value: object, name: str) -> Channels:
    red, green, blue = (float(number) for number in _numbers(value, 3, name))
    return red, green, blue


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
