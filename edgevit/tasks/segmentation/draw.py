"""Showing a mask: colors, the tinted photo with crisp outlines, and a legend of what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edgevit.errors import UsageError
from edgevit.tasks.drawing.style import (
    INK,
    MAX_ENTRIES,
    PAPER,
    SMALLEST_PHOTO,
    Color,
    percent,
    short,
    text_width,
)
from edgevit.tasks.pixels.mask import Labels
from edgevit.tasks.pixels.resize import Picture
from edgevit.tasks.segmentation.masks import class_shares

BACKGROUND: Color = (38, 40, 46)  # class 0: dark and neutral
OUTLINE: Color = (255, 255, 255)
GRID_STEPS = 17  # candidate colors a channel
MAX_COLORS = 1024


def palette(n: int) -> Picture:
    """n distinct colors, uint8 [n, 3] RGB, the first dark and neutral, the others far apart.

    Greedy farthest points of a fixed grid in OKLab (Ottosson, 2020), so the first k of palette(n)
    are palette(k).
    Raises `UsageError` outside 1..1024.
    """
    if not 1 <= n <= MAX_COLORS:
        raise UsageError(f"A palette has 1 to {MAX_COLORS} colors, not {n}.")
    return np.array(_colors(max(32, 1 << (n - 1).bit_length())), dtype=np.uint8)[:n]


def overlay(
    image: Picture, mask: Labels, labels: Sequence[str], alpha: float = 0.55
) -> Image.Image:
    """The photo in gray, tinted by its mask and outlined, with a legend of classes and shares.

    image: uint8 RGB [H, W, 3]; mask: [H, W]; labels: one name a class; alpha: opacity of the tint,
    0..1. The photo keeps its pixels (below 384 pixels it is enlarged by a whole factor), at the top
    left of the result; the legend stands beside an upright photo and below a wide one, in a type
    that grows with the photo.
    Raises `UsageError` on a mask of another size, a label without a name, or alpha out of range.
    """
    if image.dtype != np.uint8 or image.shape != (*mask.shape, 3):
        raise UsageError(
            f"The picture is {image.shape} and the mask {mask.shape}: they do not cover each other."
        )
    if not 0 <= alpha <= 1:
        raise UsageError(f"The opacity of the tint must lie in 0..1, not {alpha}.")
    shares = class_shares(mask, labels)
    colors = palette(len(labels))
    zoom = max(1, -(-SMALLEST_PHOTO // max(mask.shape)))
    if zoom > 1:
        image = image.repeat(zoom, 0).repeat(zoom, 1)
        mask = mask.repeat(zoom, 0).repeat(zoom, 1)
    # Over a colored photo no tint would keep the color that the legend shows.
    gray = Image.fromarray(image).convert("L").convert("RGB")
    photo = Image.blend(gray, Image.fromarray(colors[mask]), alpha)
    lines = Image.fromarray(_outlines(mask, max(1, round(min(mask.shape) / 500))))
    photo.paste(OUTLINE, mask=lines)

    color_of = dict(zip(labels, map(tuple, colors.tolist()), strict=True))
    entries = [
        _Entry(short(name), percent(share), color_of[name]) for name, share in shares.items()
    ]
    if len(entries) > MAX_ENTRIES:
        rest = sum(list(shares.values())[MAX_ENTRIES - 1 :])
        more = f"{len(entries) - MAX_ENTRIES + 1} more classes"
        entries = [*entries[: MAX_ENTRIES - 1], _Entry(more, percent(rest), PAPER)]
    return _with_legend(photo, entries)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    share: str
    color: Color


@lru_cache(maxsize=4)
def _colors(n: int) -> tuple[Color, ...]:
    steps = np.linspace(0, 255, GRID_STEPS).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = _oklab(grid)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    # Dark, pale and gray colors vanish in a photo and glaring ones hide it: taken when the others
    # are used up.
    fair = (lab[:, 0] > 0.5) & (lab[:, 0] < 0.92) & (chroma > 0.1) & (chroma < 0.24)
    chosen: list[Color] = [BACKGROUND]
    distance = np.linalg.norm(lab - _oklab(np.array([BACKGROUND], dtype=float)), axis=1)
    distance = np.where(fair, distance, distance * 0.2)
    while len(chosen) < n:
        best = int(distance.argmax())
        red, green, blue = (int(value) for value in grid[best])
        chosen.append((red, green, blue))
        from_best = np.linalg.norm(lab - lab[best], axis=1)
        distance = np.minimum(distance, from_best)
    return tuple(chosen)


def _oklab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """OKLab of sRGB 0..255, float64 [n, 3] (B. Ottosson, "A perceptual color space", 2020)."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    lab: NDArray[np.float64] = np.cbrt(linear @ to_lms.T) @ to_lab.T
    return lab


def _outlines(mask: Labels, thickness: int) -> NDArray[np.bool_]:
    """bool [H, W]: a line of `thickness` pixels along every border between two regions."""
    line = np.zeros(mask.shape, np.bool_)
    line[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    line[1:] |= mask[1:] != mask[:-1]
    for step in range(1, thickness):
        # Alternating sides keep the line centered on the border.
        grown = line.copy()
        if step % 2:
            grown[:, :-1] |= line[:, 1:]
            grown[:-1] |= line[1:]
        else:
            grown[:, 1:] |= line[:, :-1]
            grown[1:] |= line[:-1]
        line = grown
    return line


def _with_legend(photo: Image.Image, entries: list[_Entry]) -> Image.Image:
    size = min(160, max(14, round(min(photo.size) / 30)))
    font = ImageFont.load_default(size)
    line, gap = round(size * 1.6), round(size * 0.7)
    name_width = max(text_width(font, entry.name) for entry in entries)
    share_width = max(text_width(font, entry.share) for entry in entries)
    swatch = size
    column = swatch + gap + name_width + gap + share_width + 2 * gap
    beside = photo.height >= photo.width
    if beside:
        rows = max(min(len(entries), 4), (photo.height - 2 * gap) // line)
        columns = -(-len(entries) // rows)
        width = photo.width + gap + columns * column
        height = max(photo.height, min(rows, len(entries)) * line + 2 * gap)
        left, top = photo.width + 2 * gap, gap
    else:
        columns = min(len(entries), max(1, (photo.width - gap) // column))
        rows = -(-len(entries) // columns)
        width = max(photo.width, gap + columns * column)
        height = photo.height + rows * line + 2 * gap
        left, top = 2 * gap, photo.height + gap
    canvas = Image.new("RGB", (width, height), PAPER)
    canvas.paste(photo, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for index, entry in enumerate(entries):
        x, y = left + index // rows * column, top + index % rows * line
        middle = y + line // 2
        box = (x, middle - swatch // 2, x + swatch, middle - swatch // 2 + swatch)
        draw.rectangle(box, fill=entry.color, outline=INK if entry.color != PAPER else PAPER)
        draw.text((x + swatch + gap, middle), entry.name, INK, font, anchor="lm")
        right = x + swatch + 2 * gap + name_width + share_width
        draw.text((right, middle), entry.share, INK, font, anchor="rm")
    return canvas
