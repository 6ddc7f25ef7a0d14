import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels import mask as module
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.pixels.resize import bilinear
from tests.support.maps import Logits, maps, piecewise_smooth


def plain(logits: Logits, size: tuple[int, int]) -> NDArray[np.intp]:
    return bilinear(logits, size).argmax(0)


@settings(deadline=None, derandomize=True, max_examples=600)
@given(maps())
@example((np.zeros((1, 1, 1), np.float32), (1, 1)))
@example((np.zeros((3, 2, 2), np.float32), (50, 50)))
def test_is_the_argmax_of_the_interpolated_logits(case: tuple[Logits, tuple[int, int]]) -> None:
    logits, size = case
    before = logits.copy()
    assert np.array_equal(exact_mask(logits, size), plain(logits, size))
    assert np.array_equal(logits, before)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_cells_of_more_than_a_tile(classes: int, h: int, w: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, (classes, h, w)).astype(np.float32)
    size = (40 * h + 3, 55 * w - 2)
    assert np.array_equal(exact_mask(logits, size), plain(logits, size))


@pytest.mark.parametrize(
    ("classes", "side", "size"),
    [
        (150, 56, (448, 448)),
        (150, 28, (225, 321)),
        (12, 56, (448, 448)),
        (12, 33, (700, 90)),
        (2, 56, (449, 447)),
    ],
)
def test_maps_like_a_networks(classes: int, side: int, size: tuple[int, int]) -> None:
    logits = piecewise_smooth(classes, side)
    assert np.array_equal(exact_mask(logits, size), plain(logits, size))


def test_agrees_with_torch_on_a_map_like_a_networks() -> None:
    logits = piecewise_smooth(150, 56, seed=1)
    upsampled = F.interpolate(torch.from_numpy(logits)[None], size=(448, 448), mode="bilinear")
    # torch's vector kernels round otherwise, so a pixel on a border may fall to the other side.
    assert np.mean(exact_mask(logits, (448, 448)) == upsampled.argmax(1)[0].numpy()) > 0.9999


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (7, 9, 9)).astype(np.float32)
    wanted = plain(logits, (70, 75))
    monkeypatch.setattr(module, "BLOCK_VALUES", 200)
    monkeypatch.setattr(module, "STRIP_VALUES", 600)
    assert np.array_equal(exact_mask(logits, (70, 75)), wanted)
    assert np.array_equal(exact_mask(logits, (5, 4)), plain(logits, (5, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_values_beyond_arithmetic_are_left_to_numpys_argmax(value: float) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (4, 5, 5)).astype(np.float32)
    logits[2, 1, 3] = value
    with np.errstate(all="ignore"):
        wanted = plain(logits, (40, 40))
    assert np.array_equal(exact_mask(logits, (40, 40)), wanted)


def test_more_than_256_classes_need_16_bits() -> None:
    logits = np.random.default_rng(0).normal(0, 1, (300, 4, 4)).astype(np.float32)
    logits[299, 2, 2] = 9
    assert exact_mask(logits[:256], (32, 32)).dtype == np.uint8
    mask = exact_mask(logits, (32, 32))
    assert mask.dtype == np.uint16
    assert mask.max() == 299
    assert np.array_equal(mask, plain(logits, (32, 32)))


def test_input_of_any_strides_is_accepted() -> None:
    channels_last = np.random.default_rng(0).normal(0, 1, (6, 7, 5)).astype(np.float32)
    logits = channels_last.transpose(2, 0, 1)
    assert np.array_equal(exact_mask(logits, (48, 56)), plain(logits, (48, 56)))


@pytest.mark.parametrize("classes", [1, 3])
def test_the_callers_logits_are_never_written_to(classes: int) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (classes, 5, 5)).astype(np.float32)
    logits.flags.writeable = False
    assert np.array_equal(exact_mask(logits, (40, 40)), plain(logits, (40, 40)))


def test_few_cells_and_classes_are_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of it all: on a network-like map little is decided by interpolating."""
    evaluated = []
    tournament = module._tournament

    def counting(*arguments):  # type: ignore[no-untyped-def]
        evaluated.append(int(arguments[-1][2].sum()))
        return tournament(*arguments)

    monkeypatch.setattr(module, "_tournament", counting)
    exact_mask(piecewise_smooth(150, 56), (448, 448))
    assert sum(evaluated) * 64 < 0.05 * 150 * 448 * 448


@pytest.mark.parametrize(
    ("logits", "size", "message"),
    [
        (np.zeros((2, 3, 3)), (8, 8), "float32"),
        (np.zeros((1, 2, 3, 3), np.float32), (8, 8), r"\[C, h, w\]"),
        (np.zeros((2, 3, 3), np.float32), (0, 8), "at least 1 pixel"),
        (np.zeros((0, 3, 3), np.float32), (8, 8), "at least 1 pixel"),
        (np.zeros((70_000, 1, 1), np.float32), (8, 8), "65536"),
    ],
)
def test_refuses_what_is_no_map(logits: Logits, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        exact_mask(logits, size)
