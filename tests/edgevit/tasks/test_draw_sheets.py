"""Tiles and bars: sizes, what stands where, and that a bar is as long as its class is likely."""

import numpy as np
import pytest
from PIL import Image

from edgevit.tasks.classification import Guess
from edgevit.tasks.draw_sheets import BAR, TILE, TRACK, captioned, sheet

GUESSES = (Guess(0, "tabby", 0.75), Guess(1, "a name that is far too long to be shown whole", 0.0))


def colors(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(image) == color).all(axis=2)


@pytest.mark.parametrize("size", [(400, 500), (900, 300), (120, 80), (3000, 2000), (500, 20)])
def test_the_photo_keeps_its_pixels(size: tuple[int, int]) -> None:
    photo = Image.fromarray(
        np.random.default_rng(0).integers(0, 200, (size[1], size[0], 3), dtype=np.uint8)
    )
    drawn = captioned(photo, GUESSES)
    zoom = max(1, -(-384 // max(size)))
    assert drawn.width >= size[0] * zoom
    assert drawn.height > size[1] * zoom
    corner = drawn.crop((0, 0, size[0] * zoom, size[1] * zoom))
    assert np.array_equal(np.asarray(corner)[::zoom, ::zoom], np.asarray(photo))


def test_a_bar_is_as_long_as_its_class_is_likely() -> None:
    drawn = captioned(Image.new("RGB", (600, 400)), GUESSES)
    bar, track = colors(drawn, BAR), colors(drawn, TRACK)
    row = int(np.flatnonzero(bar.any(axis=1))[3])
    filled, rest = int(bar[row].sum()), int(track[row].sum())
    assert filled / (filled + rest) == pytest.approx(0.75, abs=0.01)


def test_guesses_beyond_the_first_40_are_not_drawn() -> None:
    photo = Image.new("RGB", (600, 400))
    first = tuple(Guess(index, "a class", 0.5) for index in range(40))
    drawn = captioned(photo, (*first, *(Guess(index, "more", 0.0) for index in range(40, 1000))))
    assert np.array_equal(np.asarray(drawn), np.asarray(captioned(photo, first)))


def test_tiles_stand_in_reading_order() -> None:
    shades = [np.full((40, 50, 3), 20 * index + 10, np.uint8) for index in range(5)]
    drawn = sheet([(shade, f"picture {index}") for index, shade in enumerate(shades)], columns=2)
    places = [tuple(np.argwhere(colors(drawn, (20 * index + 10,) * 3))[0]) for index in range(5)]
    assert places == sorted(places)
    assert len({row for row, _ in places}) == 3
    assert len({column for _, column in places}) == 2


@pytest.mark.parametrize("size", [(7, 7), (1000, 500), (1, 3000), (256, 255)])
def test_tiles_are_brought_to_one_size(size: tuple[int, int]) -> None:
    drawn = sheet([(np.zeros((*size, 3), np.uint8), "a caption")])
    black = colors(drawn, (0, 0, 0))
    rows, columns = np.flatnonzero(black.any(1)), np.flatnonzero(black.any(0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 <= TILE
    assert max(np.ptp(rows), np.ptp(columns)) + 1 > TILE / 2
