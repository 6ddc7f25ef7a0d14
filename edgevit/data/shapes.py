"""The drawn objects of a scene: each a few polygons, with a pattern that tells its class."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]
Polygon: TypeAlias = list[Point]


@dataclass(frozen=True, slots=True)
class Sprite:
    """One object, about 2 units wide or high around (0, 0), y pointing down.

    `solid` polygons united, minus `holes`, are the pixels it owns; `paint` is drawn over `base` in
    order and clipped to them. `keypoints` holds the 17 COCO points of a stick figure, else nothing.
    """

    solid: tuple[Polygon, ...]
    base: Color
    paint: tuple[tuple[Polygon, Color], ...] = ()
    holes: tuple[Polygon, ...] = ()
    keypoints: tuple[Point, ...] = field(default=())


def _regular(count: int, radius: float, x: float = 0.0, y: float = 0.0) -> Polygon:
    step = 2.0 * math.pi / count
    return [
        (x + radius * math.sin(i * step), y - radius * math.cos(i * step)) for i in range(count)
    ]


def _box(left: float, top: float, right: float, bottom: float) -> Polygon:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _star(outer: float, inner: float) -> Polygon:
    radii = (outer, inner)
    return [
        (radii[i % 2] * math.sin(i * math.pi / 5), -radii[i % 2] * math.cos(i * math.pi / 5))
        for i in range(10)
    ]


def capsule(a: Point, b: Point, radius: float) -> Polygon:
    """A thick line from `a` to `b` with round ends."""
    heading = math.atan2(b[1] - a[1], b[0] - a[0])
    around = [heading + math.pi / 2 + i * math.pi / 6 for i in range(7)]
    ends = [(a, turn) for turn in around] + [(b, turn + math.pi) for turn in around]
    return [(p[0] + radius * math.cos(t), p[1] + radius * math.sin(t)) for p, t in ends]


def _disc(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    bands = int(rng.integers(3, 6))
    rims = [1.0 - i / bands for i in range(bands)]
    paint = [(_regular(32, rim), colors[i % 2]) for i, rim in enumerate(rims)]
    return Sprite((_regular(40, 1.0),), colors[0], tuple(paint[1:]))


def _triangle(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    half = float(rng.uniform(0.8, 1.05))
    stripes = int(rng.integers(3, 6))
    step = 1.85 / (2 * stripes)
    tops = [-1.0 + step * (2 * i + 1) for i in range(stripes)]
    paint = tuple((_box(-1.1, top, 1.1, top + step), colors[1]) for top in tops)
    return Sprite(([(0.0, -1.0), (half, 0.85), (-half, 0.85)],), colors[0], paint)


def _star_sprite(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    inner = float(rng.uniform(0.45, 0.58))
    paint = ((_star(0.68, 0.68 * inner), colors[1]), (_star(0.36, 0.36 * inner), colors[0]))
    return Sprite((_star(1.05, 1.05 * inner),), colors[0], paint)


def _ring(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    count = int(rng.integers(5, 9))
    step = math.pi / count
    wedges = [
        [(0.0, 0.0)] + [(1.5 * math.sin(t), -1.5 * math.cos(t)) for t in (a, a + step)]
        for a in (2 * i * step for i in range(count))
    ]
    hole = _regular(32, float(rng.uniform(0.45, 0.58)))
    paint = tuple((wedge, colors[1]) for wedge in wedges)
    return Sprite((_regular(40, 1.0),), colors[0], paint, (hole,))


def _crate(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    half = float(rng.uniform(0.6, 0.9))
    cells = int(rng.integers(4, 7))
    step = 1.8 / cells
    paint = tuple(
        (
            _box(
                -0.9 + step * i,
                half * (-1 + 2 * j / cells),
                -0.9 + step * (i + 1),
                half * (-1 + 2 * (j + 1) / cells),
            ),
            colors[1],
        )
        for i in range(cells)
        for j in range(cells)
        if (i + j) % 2
    )
    return Sprite((_box(-0.9, -half, 0.9, half),), colors[0], paint)


def _house(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    eaves = float(rng.uniform(-0.35, -0.15))
    roof = [(0.0, -1.0), (1.0, eaves), (-1.0, eaves)]
    door = float(rng.uniform(-0.15, 0.15))
    top = eaves + 0.2
    paint = (
        (roof, colors[2]),
        (_box(-0.65, top, -0.3, top + 0.35), colors[1]),
        (_box(0.3, top, 0.65, top + 0.35), colors[1]),
        (_box(door - 0.16, 0.35, door + 0.16, 1.0), colors[1]),
    )
    return Sprite((_box(-0.82, eaves - 0.05, 0.82, 0.95), roof), colors[0], paint)


def _tree(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    lobes = int(rng.integers(5, 8))
    lean = float(rng.uniform(0.0, 2.0 * math.pi))
    turns = [lean + 2.0 * math.pi * i / lobes for i in range(lobes)]
    crown = [_regular(16, 0.36, 0.42 * math.sin(t), -0.3 + 0.38 * math.cos(t)) for t in turns]
    trunk = [(-0.15, 0.2), (0.15, 0.2), (0.2, 1.0), (-0.2, 1.0)]
    spots = []
    shifts = rng.uniform(-0.06, 0.06, (5, 5, 2)).tolist()
    for row in range(5):
        for column in range(5):
            dx, dy = shifts[row][column]
            x = -0.68 + 0.32 * column + (0.16 if row % 2 else 0.0) + dx
            spots.append((_regular(8, 0.085, x, -0.92 + 0.3 * row + dy), colors[1]))
    return Sprite(
        (*crown, _regular(12, 0.4, 0.0, -0.3), trunk), colors[0], (*spots, (trunk, colors[2]))
    )


def _car(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    roof = float(rng.uniform(-0.62, -0.5))
    mirror = -1.0 if rng.integers(2) else 1.0
    body = _box(-1.05, -0.12, 1.05, 0.36)
    cabin = [(-0.72, -0.1), (-0.48, roof), (0.32, roof), (0.66, -0.1)]
    rear = [(-0.56, -0.12), (-0.4, roof + 0.12), (-0.12, roof + 0.12), (-0.12, -0.12)]
    front = [(0.0, -0.12), (0.0, roof + 0.12), (0.26, roof + 0.12), (0.48, -0.12)]
    wheels = [_regular(20, 0.27, x, 0.36) for x in (-0.58, 0.58)]
    hubs = [_regular(12, 0.12, x, 0.36) for x in (-0.58, 0.58)]
    lamp = _box(0.9, -0.02, 1.1, 0.14)

    def flip(polygon: Polygon) -> Polygon:
        return [(mirror * x, y) for x, y in polygon]

    glass = [(flip(p), colors[1]) for p in (rear, front, lamp)]
    rubber = [(wheel, colors[2]) for wheel in wheels]
    caps = [(hub, colors[1]) for hub in hubs]
    return Sprite((body, flip(cabin), *wheels), colors[0], (*glass, *rubber, *caps))


def _limb(start: Point, angle: float, length: float) -> Point:
    return (start[0] + length * math.sin(angle), start[1] + length * math.cos(angle))


def _person(rng: np.random.Generator, colors: list[Color]) -> Sprite:
    """A stick figure seen from the front: its left side is at the right of the picture."""
    head = (0.0, -0.76)
    shoulders = [(0.26, -0.4), (-0.26, -0.4)]
    hips = [(0.15, 0.2), (-0.15, 0.2)]
    lift = rng.uniform(0.15, 2.6, 2).tolist()
    bend = rng.uniform(-0.9, 0.9, 2).tolist()
    stride = rng.uniform(0.05, 0.6, 2).tolist()
    knee = rng.uniform(-0.45, 0.15, 2).tolist()
    sides = (1.0, -1.0)
    elbows = [_limb(shoulders[i], sides[i] * lift[i], 0.34) for i in (0, 1)]
    wrists = [_limb(elbows[i], sides[i] * (lift[i] + bend[i]), 0.32) for i in (0, 1)]
    knees = [_limb(hips[i], sides[i] * stride[i], 0.4) for i in (0, 1)]
    ankles = [_limb(knees[i], sides[i] * (stride[i] + knee[i]), 0.38) for i in (0, 1)]
    face = [(0.0, -0.73), (0.085, -0.8), (-0.085, -0.8), (0.2, -0.78), (-0.2, -0.78)]

    arms = [capsule(shoulders[i], elbows[i], 0.1) for i in (0, 1)]
    arms += [capsule(elbows[i], wrists[i], 0.09) for i in (0, 1)]
    legs = [capsule(hips[i], knees[i], 0.115) for i in (0, 1)]
    legs += [capsule(knees[i], ankles[i], 0.1) for i in (0, 1)]
    torso = [(-0.3, -0.48), (0.3, -0.48), (0.24, 0.26), (-0.24, 0.26)]
    skull = _regular(20, 0.23, *head)
    neck = _box(-0.09, -0.6, 0.09, -0.44)
    paint = [(leg, colors[1]) for leg in legs] + [(torso, colors[0])]
    paint += [(arm, colors[0]) for arm in arms[:2]] + [(arm, colors[2]) for arm in arms[2:]]
    paint += [(neck, colors[2]), (skull, colors[2])]
    paint += [(_regular(8, 0.05, *eye), colors[3]) for eye in face[1:3]]
    paint += [(_box(-0.09, -0.66, 0.09, -0.61), colors[3])]
    pairs = [joint[i] for joint in (shoulders, elbows, wrists, hips, knees, ankles) for i in (0, 1)]
    return Sprite((torso, skull, neck, *arms, *legs), colors[0], tuple(paint), (), (*face, *pairs))


@dataclass(frozen=True, slots=True)
class Kind:
    """How one class is drawn: half sizes are shares of the short side, the tilt is in radians."""

    make: Callable[[np.random.Generator, list[Color]], Sprite]
    half: tuple[float, float]
    tilt: float


# Half sizes: 0.10 of a 448 picture's short side is an object 90 px wide.
KINDS: dict[str, Kind] = {
    "disc": Kind(_disc, (0.10, 0.22), math.pi),
    "triangle": Kind(_triangle, (0.13, 0.27), math.pi),
    "star": Kind(_star_sprite, (0.14, 0.28), math.pi),
    "ring": Kind(_ring, (0.12, 0.25), math.pi),
    "crate": Kind(_crate, (0.11, 0.24), math.pi),
    "house": Kind(_house, (0.13, 0.26), 0.2),
    "tree": Kind(_tree, (0.15, 0.28), 0.2),
    "car": Kind(_car, (0.15, 0.28), 0.2),
    "person": Kind(_person, (0.22, 0.34), 0.25),
}
