import numpy as np
import pytest
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.drawing.style import PAPER
from edgevit.tasks.segmentation.draw import BACKGROUND, OUTLINE, overlay, palette

LABELS = ["ground", "tree", "house", "a class with a very long name that no legend could ever hold"]


def scene(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[: height // 2, : width // 2] = 1
    mask[height // 2 :, width // 3 :] = 2
    return image, mask


@pytest.mark.parametrize("n", [1, 2, 12, 150, 256, 1024])
def test_palettes_are_distinct_and_start_alike(n: int) -> None:
    colors = palette(n)
    assert colors.shape == (n, 3)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == n
    assert tuple(colors[0]) == BACKGROUND
    assert np.array_equal(colors, palette(1024)[:n])


def test_few_colors_are_far_apart() -> None:
    colors = palette(12).astype(int)
    apart = np.abs(colors[:, None] - colors[None]).sum(-1) + 999 * np.eye(12, dtype=int)
    assert apart.min() > 90


@pytest.mark.parametrize("n", [0, -1, 1025])
def test_palette_refuses_other_counts(n: int) -> None:
    with pytest.raises(UsageError, match="1 to 1024 colors"):
        palette(n)


@pytest.mark.parametrize("alpha", [0.0, 0.55, 1.0])
def test_the_photo_lies_at_the_top_left_tinted(alpha: float) -> None:
    image, mask = scene(400, 500)
    drawn = np.asarray(overlay(image, mask, LABELS, alpha))[:400, :500].astype(float)
    gray = image @ np.array([0.299, 0.587, 0.114])
    wanted = alpha * palette(4)[mask] + (1 - alpha) * gray[..., None]
    outlined = (drawn == OUTLINE).all(-1)
    assert np.abs(drawn - wanted)[~outlined].max() <= 1.6
    assert 0 < outlined.mean() < 0.02
    assert outlined[200, 10]  # the border between tree and ground


@pytest.mark.parametrize(
    ("size", "place"),
    [
        ((400, 400), "beside"),
        ((700, 300), "beside"),
        ((300, 700), "below"),
        ((1500, 2000), "below"),
    ],
)
def test_the_legend_stands_beside_or_below(size: tuple[int, int], place: str) -> None:
    image, mask = scene(*size)
    drawn = overlay(image, mask, LABELS)
    if place == "beside":
        assert drawn.height == size[0]
        assert drawn.width > size[1]
        legend = np.asarray(drawn)[:, size[1] :]
    else:
        assert drawn.width == size[1]
        assert drawn.height > size[0]
        legend = np.asarray(drawn)[size[0] :]
    shown = {tuple(color) for color in np.unique(legend.reshape(-1, 3), axis=0).tolist()}
    present, absent = palette(4)[:3].tolist(), palette(4)[3].tolist()
    assert {tuple(color) for color in present} | {PAPER} <= shown
    assert tuple(absent) not in shown


def test_type_grows_with_the_photo() -> None:
    def legend_height(size: tuple[int, int]) -> int:
        return overlay(*scene(*size), LABELS).height - size[0]

    assert legend_height((2400, 4000)) > 3 * legend_height((400, 666))


def test_small_photos_are_enlarged() -> None:
    image, mask = scene(48, 64)
    drawn = overlay(image, mask, LABELS, alpha=0)
    assert drawn.width >= 384
    assert drawn.height > 288
    block = np.asarray(drawn)[12:18, 12:18]
    assert (block == block[0, 0]).all()  # pixel (2, 2), six times


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (600, 2)])
def test_odd_photos_are_drawn(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    drawn = overlay(image, np.full(size, 3, np.uint8), LABELS)
    assert drawn.mode == "RGB"
    assert min(drawn.size) > 1


def test_many_classes_and_odd_names_fit() -> None:
    labels = [f"class\n{index}\t{'x' * (index % 50)}" for index in range(150)]
    mask = np.arange(150, dtype=np.uint8).repeat(400).reshape(150, 400)
    drawn = overlay(np.zeros((150, 400, 3), np.uint8), mask, labels)
    assert drawn.height < 5000
    assert drawn.width < 5000


def test_overlay_is_deterministic() -> None:
    image, mask = scene(100, 120)
    assert overlay(image, mask, LABELS).tobytes() == overlay(image, mask, LABELS).tobytes()


def test_overlay_refuses_what_does_not_fit() -> None:
    image, mask = scene(20, 30)
    with pytest.raises(UsageError, match="do not cover each other"):
        overlay(image, mask[:-1], LABELS)
    with pytest.raises(UsageError, match="opacity"):
        overlay(image, mask, LABELS, alpha=1.5)
    with pytest.raises(UsageError, match="no class of 2"):
        overlay(image, mask, LABELS[:2])
