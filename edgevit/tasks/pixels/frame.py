"""Camera frames in numpy: three planes of any stride become an upright picture of one size.

The reference of `edgevit_fill_input` in runtimes/native/core, which does the same in one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import Picture, Size, resize_picture

Plane = NDArray[np.uint8]  # [H, W] with the strides of its buffer
Colors = Literal["rgb", "yuv"]
Rotation = Literal[0, 90, 180, 270]

# ITU-R BT.601 in full range (JFIF 1.02), factors of 14 bits: 1.402, 0.344136, 0.714136, 1.772.
RED_V, GREEN_U, GREEN_V, BLUE_U = 22970, -5638, -11700, 29032
FACTOR_BITS = 14


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A picture as a camera or a decoder gives it: three planes, views of any strides.

    colors "rgb": red, green and blue of one shape. "yuv": Y, U and V in the full range of JFIF,
    where U and V have half the sides, rounded up, and each sample stands in the middle of its four
    pixels (Android's YUV_420_888). Raises `UsageError` on planes that do not fit each other.
    """

    colors: Colors
    planes: tuple[Plane, Plane, Plane]

    def __post_init__(self) -> None:
        if self.colors not in get_args(Colors):
            raise UsageError(f"A frame is rgb or yuv, not {self.colors!r}.")
        height, width = self.size
        half = (height + 1) // 2, (width + 1) // 2
        other = half if self.colors == "yuv" else (height, width)
        for plane, shape in zip(self.planes, ((height, width), other, other), strict=True):
            if plane.dtype != np.uint8 or plane.shape != shape or not plane.size:
                raise UsageError(
                    f"The planes of a {self.colors} frame of {width} x {height} are uint8 of "
                    f"{list(shape)}, not {plane.dtype} of {list(plane.shape)}."
                )

    @property
    def size(self) -> Size:
        """Height and width in px."""
        if self.planes[0].ndim != 2:
            raise UsageError("A plane of a frame has two axes.")
        return self.planes[0].shape[0], self.planes[0].shape[1]


def rgb_frame(picture: Picture) -> Frame:
    """The frame of an interleaved picture, uint8 [H, W, 3 or 4]; an alpha is not looked at."""
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise UsageError(
            f"A picture is uint8 [H,W,3 or 4], not {picture.dtype} of {picture.shape}."
        )
    return Frame("rgb", (picture[..., 0], picture[..., 1], picture[..., 2]))


def upright_picture(
    frame: Frame,
    resized: Size,
    rotation: Rotation = 0,
    mirror: bool = False,
) -> Picture:
    """The frame turned clockwise by `rotation`, then mirrored, then resized: uint8 RGB [H, W, 3].

    Each plane is resized by `resize_picture` where it stands, chroma from its own size, and each
    pixel is converted once. Raises `UsageError` on another rotation and on a size below 1.
    """
    if rotation not in get_args(Rotation):
        raise UsageError(f"A frame is turned by 0, 90, 180 or 270 degrees, not {rotation}.")
    y, u, v = (resized_plane(plane, resized, rotation, mirror) for plane in frame.planes)
    return np.stack((y, u, v) if frame.colors == "rgb" else yuv_to_rgb(y, u, v), axis=-1)


def resized_plane(plane: Plane, size: Size, rotation: Rotation, mirror: bool) -> Plane:
    """One plane turned, mirrored and resized."""
    turned = np.rot90(plane, -rotation // 90)
    if mirror:
        turned = turned[:, ::-1]
    return resize_picture(turned[..., None], size)[..., 0]


def yuv_to_rgb(y: Plane, u: Plane, v: Plane) -> Sequence[Plane]:
    """Red, green and blue of planes of one shape; every step in integers, rounded once."""
    luma, blue, red = y.astype(np.int32), u.astype(np.int32) - 128, v.astype(np.int32) - 128
    half = 1 << (FACTOR_BITS - 1)
    parts = (RED_V * red, GREEN_U * blue + GREEN_V * red, BLUE_U * blue)
    return [(luma + ((part + half) >> FACTOR_BITS)).clip(0, 255).astype(np.uint8) for part in parts]


def yuv_frame(picture: Picture) -> Frame:
    """A picture, uint8 RGB [H, W, 3], as a camera would give it: NV21-like planes.

    Chroma is the rounded mean of four pixels; U and V lie side by side, with pixel stride 2.
    """
    red, green, blue = (picture[..., i].astype(np.float64) for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    height, width = luma.shape
    pair = np.empty(((height + 1) // 2, (width + 1) // 2, 2), np.uint8)
    for place, difference in enumerate(((blue - luma) / 1.772, (red - luma) / 1.402)):
        even = np.pad(difference, ((0, height % 2), (0, width % 2)), mode="edge")
        mean = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
        pair[..., place] = np.rint(mean + 128).clip(0, 255)
    return Frame("yuv", (np.rint(luma).clip(0, 255).astype(np.uint8), pair[..., 0], pair[..., 1]))
