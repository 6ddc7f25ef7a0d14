"""A mask in colors, in C against numpy's."""

from pathlib import Path

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.tasks.pixels.core import Core
from edgevit.tasks.pixels.tint import tint
from tests.support.native import BUILDS, program
from tests.support.once import Shared

RNG = np.random.default_rng(0)
PALETTE = RNG.integers(0, 256, (150, 4), np.uint8)
PICTURE = RNG.integers(0, 256, (37, 51, 4), np.uint8)
MASK = RNG.integers(0, 150, (37, 51), np.uint8)


def test_the_library_is_numpys_tint(host_core: Core) -> None:
    for mask in (MASK, MASK.astype(np.uint16)):
        assert np.array_equal(host_core.tint(mask, PALETTE), PALETTE[MASK])
        assert np.array_equal(host_core.tint(mask, PALETTE, PICTURE), tint(mask, PALETTE, PICTURE))


def test_every_mixture_is_rounded_once() -> None:
    """All alphas and colors over two pictures: the nearest level, as exact fractions say."""
    alpha, color = (axis.ravel() for axis in np.mgrid[:256, :256])
    palette = np.stack([color] * 3 + [alpha], -1).astype(np.uint8)
    mask = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for level in (0, 77, 255):
        result = tint(mask, palette, np.full((256, 256, 4), level, np.uint8))
        exact = (level * (255 - alpha) + color * alpha) / 255
        assert np.abs(result[..., 0].ravel() - exact).max() <= 0.5
        assert (result[..., 3] == 255).all()


@pytest.mark.parametrize("build", list(BUILDS))
def test_every_build_is_numpys_tint(shared: Shared, tmp_path: Path, build: str) -> None:
    MASK.tofile(tmp_path / "mask")
    PALETTE.tofile(tmp_path / "palette")
    PICTURE.tofile(tmp_path / "picture")
    run = program(shared, build)
    words = [
        *("overlay", f"in={tmp_path / 'mask'}", f"palette={tmp_path / 'palette'}"),
        *(f"out={tmp_path / 'result'}", "width=51", "height=37"),
    ]
    for picture, more in ((None, []), (PICTURE, [f"picture={tmp_path / 'picture'}"])):
        done = run(*words, *more)
        assert done.returncode == 0, done.stderr
        result = np.fromfile(tmp_path / "result", np.uint8).reshape(37, 51, 4)
        assert np.array_equal(result, tint(MASK, PALETTE, picture))


def test_what_cannot_be_is_refused(host_core: Core) -> None:
    few = PALETTE[: MASK.max()]
    for refuse in (tint, host_core.tint):
        with pytest.raises(UsageError, match=r"class 149, of 149 colors|has no color for"):
            refuse(MASK, few)
        with pytest.raises(UsageError, match=r"The picture is|does not lie within"):
            refuse(MASK, PALETTE, PICTURE[:, 1:])
    with pytest.raises(UsageError, match=r"uint8 \[classes, 4\]"):
        tint(MASK, PALETTE[:, :3])
