"""The exact mask in C against numpy's: as a library here, as a program with NEON and sanitized."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings

from edgevit.errors import UsageError
from edgevit.tasks.pixels.core import Core
from edgevit.tasks.pixels.mask import exact_mask
from tests.support.maps import Logits, maps, piecewise_smooth
from tests.support.native import BUILDS, program
from tests.support.once import Shared

LAYOUTS = ("NCHW", "NHWC")


def laid(logits: Logits, layout: str) -> Logits:
    return logits if layout == "NCHW" else np.ascontiguousarray(logits.transpose(1, 2, 0))


@settings(deadline=None, derandomize=True, max_examples=600)
@given(maps())
@example((np.zeros((1, 1, 1), np.float32), (1, 1)))
def test_the_library_is_numpys_mask(host_core: Core, case: tuple[Logits, tuple[int, int]]) -> None:
    logits, size = case
    with np.errstate(all="ignore"):
        wanted = exact_mask(logits, size)
    for layout in LAYOUTS:
        mask = host_core.mask(laid(logits, layout), size, layout)
        assert np.array_equal(mask, wanted), layout
        assert mask.dtype == wanted.dtype


def cases() -> dict[str, tuple[Logits, tuple[int, int]]]:
    """Few maps, that reach every loop of every kernel: tails, ties, all rounding, no arithmetic."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3, (37, 13, 21)).astype(np.float32)
    eps = np.finfo(np.float32).eps
    broken = noise.copy()
    broken[rng.random(noise.shape) < 0.02] = np.nan
    broken[5, 5, 5] = np.inf
    return {
        "like a network's": (piecewise_smooth(150, 56), (448, 448)),
        "noise": (noise, (104, 168)),
        "odd ratio": (noise, (131, 203)),
        "smaller": (noise, (7, 9)),
        "one class": (noise[:1], (20, 30)),
        "seven classes": (noise[:7], (104, 168)),
        "two by two": (noise[:, :2, :2], (40, 37)),
        "ties": (rng.integers(-1, 2, noise.shape).astype(np.float32), (104, 168)),
        "ulps": ((1 + eps * rng.integers(-3, 4, noise.shape)).astype(np.float32), (104, 168)),
        "16 bits": (rng.normal(0, 1, (300, 6, 5)).astype(np.float32), (48, 41)),
        "not finite": (broken, (104, 168)),
        "huge": (noise * np.float32(9e36), (104, 168)),
        "tiny": ((noise * np.float32(1e-44)), (104, 168)),
    }


@pytest.mark.parametrize("build", list(BUILDS))
def test_every_build_is_numpys_mask(shared: Shared, tmp_path: Path, build: str) -> None:
    run = program(shared, build)
    for name, (logits, size) in cases().items():
        with np.errstate(all="ignore"):
            wanted = exact_mask(logits, size)
        classes, height, width = logits.shape
        for layout in LAYOUTS:
            laid(logits, layout).tofile(tmp_path / "logits")
            for way in ("mask", "plain-mask"):
                done = run(
                    *(way, f"in={tmp_path / 'logits'}", f"out={tmp_path / 'mask'}"),
                    *(f"classes={classes}", f"height={height}", f"width={width}"),
                    *(f"layout={layout.lower()}", f"mask_height={size[0]}"),
                    f"mask_width={size[1]}",
                )
                assert done.returncode == 0, (name, done.stderr)
                mask = np.fromfile(tmp_path / "mask", wanted.dtype).reshape(size)
                assert np.array_equal(mask, wanted), f"{build}, {name}, {layout}, {way}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"classes": 0}, "status 2: A width, height, count"),
        ({"classes": 65537}, "status 2: "),
        ({"width": -1}, "status 2: "),
        ({"mask_width": 0}, "status 2: "),
        ({"mask_height": 16385}, "status 2: "),
        ({"height": 4097}, "status 2: "),
        ({"classes": 4}, "status 3: A picture or map does not lie within its buffer."),
        ({"classes": 65536, "height": 4096, "width": 4096}, "status 2: "),
    ],
)
def test_what_cannot_be_is_refused(
    shared: Shared, tmp_path: Path, words: dict[str, int], message: str
) -> None:
    np.zeros((3, 2, 2), np.float32).tofile(tmp_path / "logits")
    asked = {"classes": 3, "height": 2, "width": 2, "mask_height": 8, "mask_width": 8} | words
    run = program(shared, "sanitized")
    done = run(
        *("mask", f"in={tmp_path / 'logits'}", f"out={tmp_path / 'mask'}"),
        *(f"{name}={value}" for name, value in asked.items()),
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "mask").exists()


def test_the_library_says_why(host_core: Core) -> None:
    with pytest.raises(UsageError, match="The native core refuses this: A width, height"):
        host_core.mask(np.zeros((2, 3, 3), np.float32), (0, 8))
