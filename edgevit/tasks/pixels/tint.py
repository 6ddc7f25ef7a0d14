"""A mask in colors, alone or over a picture: what an app draws for every frame."""

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.mask import Labels
from edgevit.tasks.pixels.resize import Picture


def tint(mask: Labels, palette: NDArray[np.uint8], picture: Picture | None = None) -> Picture:
    """Color a mask [H, W]: uint8 RGBA [H, W, 4].

    palette: uint8 RGBA [classes, 4]. Without a picture each pixel is its label's color; with one,
    uint8 RGBA [H, W, 4], `(picture * (255 - alpha) + color * alpha) / 255`, rounded, where alpha is
    the color's own, and the result is opaque. The reference of `edgevit_overlay` in
    runtimes/native/core.
    Raises `UsageError` on shapes that do not fit, and on a label without a color.
    """
    if palette.dtype != np.uint8 or palette.ndim != 2 or palette.shape[1] != 4:
        raise UsageError(f"A palette is uint8 [classes, 4], not {palette.dtype} {palette.shape}.")
    if mask.size and int(mask.max()) >= len(palette):
        raise UsageError(f"The mask holds class {int(mask.max())}, of {len(palette)} colors.")
    colors = palette[mask]
    if picture is None:
        return colors
    if picture.dtype != np.uint8 or picture.shape != (*mask.shape, 4):
        raise UsageError(f"The picture is {picture.shape}, and the mask {mask.shape}.")
    alpha = colors[..., 3:].astype(np.uint32)
    mixed = (picture * (255 - alpha) + colors * alpha + 127) // 255
    result = mixed.astype(np.uint8)
    result[..., 3] = 255
    return result
