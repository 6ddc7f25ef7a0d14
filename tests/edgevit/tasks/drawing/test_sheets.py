"""Tiles: their sizes, and what stands where."""

import numpy as np
import pytest
from PIL import Image

from edgevit.tasks.drawing.sheets import TILE, sheet


def colors(image: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(image) == color).all(axis=2)


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
