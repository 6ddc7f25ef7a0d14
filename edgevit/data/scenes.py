"""Drawn scenes made from a seed: exact masks, labels, keypoints and clips, for every task.

A class is a shape with a pattern; colors are random and shared, so that no patch of colors tells
it. The mask is exact ownership: a pixel belongs to the frontmost object drawn over it, before blur.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgevit.data.canvas import (
    Extent,
    Layers,
    Placed,
    develop,
    draw_object,
    paint_backdrop,
    palette,
    random_lens,
    random_shades,
    random_shadow,
    turned,
)
from edgevit.data.shapes import KINDS, Point
from edgevit.errors import UsageError

VERSION = 1  # part of every seed: a change that moves a pixel takes a new one

CLASSES: tuple[str, ...] = ("background", *KINDS)
MOTIONS: tuple[str, ...] = (
    "still",
    "left",
    "right",
    "up",
    "down",
    "grow",
    "shrink",
    "clockwise",
    "counterclockwise",
)

# Who may look at which seeds. Ranges never overlap; clips draw from a stream of their own.
TRAIN_SEEDS = range(0, 1_000_000)  # training, of every task
HELD_OUT_SEEDS = range(1_000_000, 1_000_200)  # segmentation, the numbers on topformer-t's card
CALIBRATION_SEEDS = range(1_100_000, 1_100_512)  # quantization
CLASSIFICATION_SEEDS = range(1_200_000, 1_202_000)  # held out for the classification label
POSE_SEEDS = range(1_300_000, 1_300_600)  # held out for boxes and keypoints: 592 figures
VIDEO_SEEDS = range(1_400_000, 1_402_000)  # held out for clips
SEGMENTATION_SEEDS = range(1_500_000, 1_500_500)  # segmentation by the micro network

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

_PERSON = CLASSES.index("person")
# A figure covers few pixels for its size, so it is drawn twice as often.
_DRAWN = (*range(1, len(CLASSES)), _PERSON)
# What moves in a clip: all but the round ones, whose turning is hard to see, and the figure.
_MOVERS = ("triangle", "star", "crate", "house", "tree", "car")


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture and everything true of it."""

    image: Bytes
    """[H, W, 3] RGB."""
    mask: Bytes
    """[H, W], the index in CLASSES of the object that owns the pixel."""
    label: int
    """Class of the object with the most visible pixels, 1 to 9 (the rearmost of equals)."""
    keypoints: Floats
    """[P, 17, 3] x, y in px (whole numbers are pixel centers) and COCO's visibility: 2 seen, 1
    behind an object, 0 outside the picture (x = y = 0). Every figure of which a pixel is seen."""
    boxes: Floats
    """[P, 4] xyxy in px, right and bottom exclusive: the same figures' extent inside the picture,
    hidden parts included."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A short video of one moving object."""

    frames: Bytes
    """[T, H, W, 3] RGB."""
    label: int
    """Index in MOTIONS."""


def _generator(seed: int, stream: int) -> np.random.Generator:
    if not 0 <= seed < 2**32:  # a larger one would reach into the next word: the stream
        raise UsageError(
            f"Scene seed {seed} is outside 0 to 2**32 - 1.", next="Give a seed of TRAIN_SEEDS."
        )
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([VERSION, seed, stream])))


def _check_size(height: int, width: int) -> None:
    if not (64 <= height <= 2048 and 64 <= width <= 2048):
        raise UsageError(
            f"A scene of {height}x{width} is outside 64x64 to 2048x2048.",
            next="Give a height and a width from 64 to 2048.",
        )


def _place(rng: np.random.Generator, backdrop: list[int], height: int, width: int) -> list[Placed]:
    """Three to seven objects from back to front, spread out, their centers inside."""
    short = min(height, width)
    placed: list[Placed] = []
    for _ in range(int(rng.integers(3, 8))):
        kind = _DRAWN[int(rng.integers(len(_DRAWN)))]
        recipe = KINDS[CLASSES[kind]]
        scale = float(rng.uniform(*recipe.half)) * short
        angle = float(rng.uniform(-recipe.tilt, recipe.tilt))
        spots: list[Point] = [
            (x * width, y * height) for x, y in rng.uniform(0.08, 0.92, (4, 2)).tolist()
        ]
        room = [
            min(((x - p.center[0]) ** 2 + (y - p.center[1]) ** 2 for p in placed), default=0.0)
            for x, y in spots
        ]
        center = spots[room.index(max(room))]
        placed.append(Placed(recipe.make(rng, palette(rng, backdrop)), kind, center, scale, angle))
    return placed


def scene(seed: int, height: int = 448, width: int = 448) -> Scene:
    """Draw the scene of a seed: the same bytes wherever it is drawn.

    Sizes of objects follow the short side. Raises UsageError for a seed outside 0 to 2**32 - 1 or
    a side outside 64 to 2048 px.
    """
    _check_size(height, width)
    rng = _generator(seed, 0)
    image, ground = paint_backdrop(rng, height, width)
    placed = _place(rng, ground, height, width)
    shades = [random_shades(rng) for _ in placed]
    shadow, lens = random_shadow(rng), random_lens(rng)

    owners = Image.new("L", (width, height))
    layers = Layers(image, Image.new("L", (width, height), 255), owners, shadow)
    extents = [draw_object(item, layers, i + 1, shades[i]) for i, item in enumerate(placed)]
    image = develop(rng, layers, lens)

    areas = owners.histogram()[1 : len(placed) + 1]
    kinds = [0, *(item.kind for item in placed)]
    mask = np.array(owners.point([*kinds, *[0] * (256 - len(kinds))]))
    keypoints, boxes = _figures(placed, extents, areas, np.asarray(owners))
    return Scene(np.array(image), mask, kinds[1 + areas.index(max(areas))], keypoints, boxes)


def _figures(
    placed: list[Placed], extents: list[Extent], areas: list[int], owners: Bytes
) -> tuple[Floats, Floats]:
    """Keypoints and boxes of the figures of which anything can be seen."""
    height, width = owners.shape
    people: list[list[tuple[float, float, float]]] = []
    boxes: list[Extent] = []
    for i, item in enumerate(placed):
        if item.kind != _PERSON or not areas[i]:
            continue
        joints = []
        for x, y in turned(list(item.sprite.keypoints), item):
            column, row = round(x), round(y)
            if 0 <= column < width and 0 <= row < height:
                joints.append((x, y, 2.0 if owners[row, column] == i + 1 else 1.0))
            else:
                joints.append((0.0, 0.0, 0.0))
        people.append(joints)
        boxes.append(extents[i])
    return (
        np.array(people, np.float32).reshape(-1, 17, 3),
        np.array(boxes, np.float32).reshape(-1, 4),
    )


def clip(seed: int, frames: int = 8, height: int = 224, width: int = 224) -> Clip:
    """Draw the clip of a seed: one object moves in one of MOTIONS before others that stand still.

    It travels about a third of the short side, grows or shrinks by about 1.7, or turns 8 to 14
    degrees a frame. Raises UsageError as `scene` does, and for frames outside 2 to 64.
    """
    _check_size(height, width)
    if not 2 <= frames <= 64:
        raise UsageError(
            f"A clip of {frames} frames is outside 2 to 64.", next="Give 2 to 64 frames."
        )
    rng = _generator(seed, 1)
    backdrop, ground = paint_backdrop(rng, height, width)
    label = int(rng.integers(len(MOTIONS)))
    still = _place(rng, ground, height, width)[: int(rng.integers(0, 3))]
    name = _MOVERS[int(rng.integers(len(_MOVERS)))]
    short = min(height, width)
    x, y = rng.uniform(0.4, 0.6, 2).tolist()
    mover = Placed(
        KINDS[name].make(rng, palette(rng, ground)),
        CLASSES.index(name),
        (x * width, y * height),
        float(rng.uniform(0.18, 0.27)) * short,
        float(rng.uniform(-KINDS[name].tilt, KINDS[name].tilt)),
    )
    reach = float(rng.uniform(0.28, 0.45)) * short
    growth = float(rng.uniform(1.5, 1.9))
    turn = float(rng.uniform(0.14, 0.25))
    shades = [random_shades(rng) for _ in range(len(still) + 1)]
    shadow, lens = random_shadow(rng), random_lens(rng)

    ground_layers = Layers(
        backdrop, Image.new("L", (width, height), 255), Image.new("L", (width, height)), shadow
    )
    for i, item in enumerate(still):
        draw_object(item, ground_layers, i + 1, shades[i])
    video = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        layers = Layers(
            ground_layers.color.copy(), ground_layers.light.copy(), ground_layers.owners, shadow
        )
        phase = t / (frames - 1) - 0.5
        moved = _moved(mover, MOTIONS[label], reach * phase, growth, phase, turn * t)
        draw_object(moved, layers, len(still) + 1, shades[-1])
        video[t] = np.asarray(develop(rng, layers, lens))
    return Clip(video, label)


def _moved(
    item: Placed, motion: str, shift: float, growth: float, phase: float, turn: float
) -> Placed:
    """The object at a phase of its motion, from -0.5 (first frame) to 0.5 (last frame)."""
    x, y = item.center
    larger = 1.0 + (growth - 1.0) * (phase + 0.5)
    smaller = 1.0 + (growth - 1.0) * (0.5 - phase)
    match motion:
        case "left":
            return replace(item, center=(x - shift, y))
        case "right":
            return replace(item, center=(x + shift, y))
        case "up":
            return replace(item, center=(x, y - shift))
        case "down":
            return replace(item, center=(x, y + shift))
        case "grow":
            return replace(item, scale=item.scale * larger)
        case "shrink":
            return replace(item, scale=item.scale * smaller)
        case "clockwise":
            return replace(item, angle=item.angle + turn)
        case "counterclockwise":
            return replace(item, angle=item.angle - turn)
        case _:
            return item
