"""Bars below a photo: what stands where, and that a bar is as long as its class is likely."""

import numpy as np
import pytest
from PIL import Image

from edgevit.tasks.classification.draw import BAR, TRACK, captioned
from edgevit.tasks.classification.guesses import Guess

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
