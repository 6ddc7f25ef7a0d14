"""The drawing table of a scene: backdrop, objects with light and shadow, and what a camera adds."""

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from edgevit.data.shapes import Color, Point, Sprite

Extent: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placed:
    """An object and where it stands: center in px, half size in px, clockwise turn in radians."""

    sprite: Sprite
    kind: int
    center: Point
    scale: float
    angle: float


@dataclass(frozen=True, slots=True)
class Layers:
    """What objects are drawn on: their colors, the light that falls on them, who owns a pixel."""

    color: Image.Image
    light: Image.Image
    owners: Image.Image
    shadow: tuple[int, int, int]
    """Darkness of shadows, and where they fall (x, y)."""


@dataclass(frozen=True, slots=True)
class Lens:
    """What the camera does to a scene."""

    field: bytes
    """Four brightnesses, of the light in the picture's corners."""
    blur: float
    """Share of the neighboring pixel; a binary fraction, so that the blend is exact everywhere."""
    noise: float
    """Standard deviation of the sensor noise, of 255."""


def _luminance(color: list[int]) -> float:
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def palette(rng: np.random.Generator, backdrop: list[int]) -> list[Color]:
    """Four colors: the first off the backdrop, the second and fourth of unlike brightness to it."""
    pool: list[list[int]] = rng.integers(20, 250, (16, 3)).tolist()
    away = [sum(abs(a - b) for a, b in zip(c, backdrop, strict=True)) for c in pool]
    first = pool[next((i for i, d in enumerate(away) if d >= 130), away.index(max(away)))]
    gaps = [abs(_luminance(c) - _luminance(first)) for c in pool]
    unlike = [c for c, gap in zip(pool, gaps, strict=True) if gap >= 70]
    second = unlike[0] if unlike else pool[gaps.index(max(gaps))]
    third = pool[-1]
    dark = [20, 20, 20] if _luminance(third) > 128 else [235, 235, 235]
    return [(c[0], c[1], c[2]) for c in (first, second, third, dark)]


def paint_backdrop(
    rng: np.random.Generator, height: int, width: int
) -> tuple[Image.Image, list[int]]:
    """Soft noise of three octaves with a few blurred patches, and its ground color."""
    low = (max(8, width // 8), max(8, height // 8))
    ground: list[int] = rng.integers(40, 220, 3).tolist()
    total = np.empty((low[1], low[0], 3), np.int32)
    total[...] = ground
    octaves = zip((3, 9, 28), rng.integers(0, (90, 60, 60), 3).tolist(), strict=True)
    for cells, reach in octaves:
        grid = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        if cells > 3:  # the finer octaves are light and dark, not color
            grid = np.repeat(grid[:, :, :1], 3, axis=2)
        noise = Image.fromarray(grid).resize(low, Image.Resampling.BICUBIC)
        total += (np.asarray(noise, np.int32) - 128) * reach // 128
    image = Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(0, 1, 2).tolist()
        corners = rng.uniform(-0.25, 0.25, (5, 2)).tolist()
        shade = rng.integers(-45, 46, 3).tolist()
        patch = [(round((x + a) * low[0]), round((y + b) * low[1])) for a, b in corners]
        fill = tuple(min(255, max(0, g + s)) for g, s in zip(ground, shade, strict=True))
        draw.polygon(patch, fill=fill)
    soft = image.filter(ImageFilter.BoxBlur(1))
    return soft.resize((width, height), Image.Resampling.BICUBIC), ground


def turned(points: list[Point], item: Placed, left: int = 0, top: int = 0) -> list[Point]:
    """Points of a sprite in px of the picture, or of a cut-out that starts at (left, top)."""
    cos, sin = math.cos(item.angle) * item.scale, math.sin(item.angle) * item.scale
    x0, y0 = item.center[0] - left, item.center[1] - top
    return [(x0 + cos * x - sin * y, y0 + sin * x + cos * y) for x, y in points]


def _pixels(points: list[Point], item: Placed, left: int, top: int) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y in turned(points, item, left, top)]


def draw_object(item: Placed, layers: Layers, owner: int, corners: bytes) -> Extent:
    """Draw one object with its shadow over what is there; return its extent inside the picture.

    `corners` are the four brightnesses between which its surface is shaded.
    """
    outline = [p for part in item.sprite.solid for p in turned(part, item)]
    left, top = (round(min(p[i] for p in outline)) - 2 for i in (0, 1))
    right, bottom = (round(max(p[i] for p in outline)) + 3 for i in (0, 1))
    size = (right - left, bottom - top)

    silhouette = Image.new("L", size)
    draw = ImageDraw.Draw(silhouette)
    for part in item.sprite.solid:
        draw.polygon(_pixels(part, item, left, top), fill=255)
    for part in item.sprite.holes:
        draw.polygon(_pixels(part, item, left, top), fill=0)
    surface = Image.new("RGB", size, item.sprite.base)
    draw = ImageDraw.Draw(surface)
    for part, color in item.sprite.paint:
        draw.polygon(_pixels(part, item, left, top), fill=color)

    # A shadow is the silhouette, shrunk and grown again to soften it, beside the object.
    dark, dx, dy = layers.shadow
    shadow = silhouette.reduce(6).point([v * dark // 255 for v in range(256)])
    shadow = shadow.resize(size, Image.Resampling.BILINEAR)
    reach = item.scale / 400.0
    layers.light.paste(0, (left + round(dx * reach), top + round(dy * reach)), shadow)
    shade = Image.frombytes("L", (2, 2), corners).resize(size, Image.Resampling.BILINEAR)
    layers.light.paste(shade, (left, top), silhouette)
    layers.color.paste(surface, (left, top), silhouette)
    layers.owners.paste(owner, (left, top), silhouette)
    width, height = layers.owners.size
    window = (max(0, left), max(0, top), min(width, right), min(height, bottom))
    inside = silhouette.crop(
        (window[0] - left, window[1] - top, window[2] - left, window[3] - top)
    ).getbbox() or (0, 0, 0, 0)
    return (
        window[0] + inside[0],
        window[1] + inside[1],
        window[0] + inside[2],
        window[1] + inside[3],
    )


@cache
def _quantiles() -> NDArray[np.float64]:
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 256) for i in range(256)])


def develop(rng: np.random.Generator, layers: Layers, lens: Lens) -> Image.Image:
    """The photo: uneven light, a little blur, sensor noise."""
    size = layers.color.size
    field = Image.frombytes("L", (2, 2), lens.field).resize(size, Image.Resampling.BILINEAR)
    light = ImageChops.multiply(layers.light, field)
    image = ImageChops.multiply(layers.color, Image.merge("RGB", (light, light, light)))
    if lens.blur > 0:
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            image = Image.blend(image, ImageChops.offset(image, dx, dy), lens.blur)
    table = np.rint(128 + lens.noise * _quantiles()).astype(np.uint8).tobytes()
    grain = rng.bytes(3 * size[0] * size[1]).translate(table)
    return ImageChops.add(image, Image.frombytes("RGB", size, grain), 1.0, -128)


def random_lens(rng: np.random.Generator) -> Lens:
    """A camera: light that falls off by up to a third, some blur, some noise."""
    field = rng.integers(165, 256, 4, dtype=np.uint8).tobytes()
    blur = int(rng.integers(0, 5)) / 8
    return Lens(field, blur, float(rng.uniform(1.5, 7.0)))


def random_shadow(rng: np.random.Generator) -> tuple[int, int, int]:
    """How dark the shadows of a scene are, and their offset in 1/400 of an object's half size."""
    dx, dy = rng.integers(-60, 61, 2).tolist()
    return int(rng.integers(40, 140)), dx, dy


def random_shades(rng: np.random.Generator) -> bytes:
    """Brightness at the corners of an object's surface."""
    return rng.integers(170, 256, 4, dtype=np.uint8).tobytes()
