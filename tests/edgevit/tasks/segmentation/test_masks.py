import numpy as np
import pytest
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.pixels.resize import bilinear
from edgevit.tasks.preprocessing import Fit, Preprocessing, preprocess
from edgevit.tasks.segmentation import masks as module
from edgevit.tasks.segmentation.masks import class_shares, official_resize, restore_mask

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def spec(height: int, width: int, fit: Fit = "stretch") -> Preprocessing:
    return Preprocessing((height, width), MEAN, STD, fit)


def photo(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_mask_returns_to_the_photo(fit: Fit) -> None:
    """Paint quadrants in the photo, find them in the network picture, and bring that mask back."""
    image = np.zeros((300, 500, 3), np.uint8)
    truth = np.zeros((300, 500), np.uint8)
    image[150:, :, 0], truth[150:] = 255, 1
    image[:, 250:, 1] = 255
    truth[:, 250:] += 2
    prepared = preprocess(image, Preprocessing((64, 96), (0, 0, 0), (255, 255, 255), fit))
    seen = (prepared.tensor[0, 0] > 0.5) + 2 * (prepared.tensor[0, 1] > 0.5)
    restored = restore_mask(seen.astype(np.uint8), prepared)
    assert restored.shape == truth.shape
    assert restored.dtype == np.uint8
    assert np.mean(restored == truth) > 0.98
    assert np.array_equal(restored[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 2, 1, 3])


def test_restore_by_hand_and_wrong_size() -> None:
    prepared = preprocess(photo(4, 4), spec(2, 2))
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    assert restore_mask(mask, prepared).tolist() == [[1, 1, 2, 2]] * 2 + [[3, 3, 4, 4]] * 2
    with pytest.raises(UsageError, match="3 x 2, but 2 x 2"):
        restore_mask(np.zeros((3, 2), np.uint8), prepared)


@pytest.mark.parametrize("values", [1 << 23, 3000])
@pytest.mark.parametrize(
    ("size", "network", "fit"),
    [
        ((150, 201), (64, 96), "stretch"),
        ((150, 201), (64, 96), "pad"),
        ((33, 20), (64, 96), "pad"),  # smaller than the network's picture
        ((64, 96), (64, 96), "stretch"),
        ((500, 40), (64, 64), "pad"),
    ],
)
def test_official_resize_is_two_resizes_and_argmax(
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    network: tuple[int, int],
    fit: Fit,
    values: int,
) -> None:
    monkeypatch.setattr(module, "STRIP_VALUES", values)
    logits = np.random.default_rng(0).normal(0, 3, (11, network[0] // 8, network[1] // 8))
    logits = logits.astype(np.float32)
    prepared = preprocess(photo(*size), spec(*network, fit))
    box = prepared.content
    inner = bilinear(logits, network)[:, : box.height, : box.width]
    wanted = bilinear(np.ascontiguousarray(inner), size).argmax(0)
    assert np.array_equal(official_resize(logits[None], prepared), wanted)


def test_official_resize_differs_from_one_resize() -> None:
    """The two maps are not the same thing, which is why a flag chooses between them."""
    logits = np.random.default_rng(0).normal(0, 3, (5, 8, 8)).astype(np.float32)
    prepared = preprocess(photo(200, 200), spec(64, 64))
    agreement = np.mean(official_resize(logits, prepared) == exact_mask(logits, (200, 200)))
    assert 0.9 < agreement < 1


def test_official_resize_refuses_a_batch() -> None:
    prepared = preprocess(photo(20, 20), spec(64, 64))
    with pytest.raises(UsageError, match="Logits are float32"):
        official_resize(np.zeros((2, 3, 8, 8), np.float32), prepared)


def test_class_shares_are_sorted_and_leave_out_the_absent() -> None:
    mask = np.array([[0, 2, 2, 2], [0, 3, 2, 2]], np.uint8)
    shares = class_shares(mask, ["sky", "sea", "land", "boat"])
    assert list(shares.items()) == [("land", 0.625), ("sky", 0.25), ("boat", 0.125)]
    with pytest.raises(UsageError, match="no class of 3"):
        class_shares(mask, ["sky", "sea", "land"])
    with pytest.raises(UsageError, match="same name"):
        class_shares(mask, ["sky", "sea", "sky", "boat"])
