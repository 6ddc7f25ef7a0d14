"""Preprocessing: every fit against its oracle, the manifest's object, and what is refused."""

import json
import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgevit.errors import BundleError, PictureError, UsageError
from edgevit.tasks import preprocessing as module
from edgevit.tasks.preprocessing import (
    Content,
    Fit,
    Preprocessing,
    normalized,
    preprocess,
    preprocess_clip,
    visible,
)

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


def spec(height: int, width: int, fit: Fit = "stretch", **more: object) -> Preprocessing:
    return Preprocessing((height, width), MEAN, STD, fit, **more)  # type: ignore[arg-type]


def photo(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def wanted(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[3, H, W] of a resized picture, by its definition."""
    values = (picture.astype(np.float64) - MEAN) / STD
    return values.astype(np.float32).transpose(2, 0, 1)


# --- the manifest's object -----------------------------------------------------------------------

KINDS: dict[str, tuple[Preprocessing, list[str]]] = {
    "stretch": (spec(448, 512), ["resize"]),
    "pad": (spec(448, 512, "pad"), ["resize"]),
    "crop": (spec(224, 224, "crop", resize="bicubic", crop=0.9), ["resize", "crop"]),
    "antialias": (spec(224, 224, resize="bilinear-antialias"), ["resize"]),
    "box": (spec(256, 192, "box", padding=1.1, udp=False), ["padding", "udp"]),
    "clip": (spec(96, 96, frames=8, stride=0), ["resize", "frames", "stride"]),
    "cropped clip": (
        spec(96, 96, "crop", frames=16, stride=4),
        ["resize", "crop", "frames", "stride"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_holds_exactly_what_applies(kind: str) -> None:
    original, more = KINDS[kind]
    written = json.loads(json.dumps(original.to_json()))
    assert list(written) == ["size", "mean", "std", "fit", *more]
    assert Preprocessing.from_json(written) == original


def test_the_input_size_has_the_frames_first() -> None:
    assert KINDS["stretch"][0].input_size == (448, 512)
    assert KINDS["clip"][0].input_size == (8, 96, 96)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("stretch", {"size": [448]}),
        ("stretch", {"size": [448.0, 448]}),
        ("stretch", {"size": [True, 448]}),
        ("stretch", {"size": [0, 448]}),
        ("stretch", {"size": [448, 1 << 40]}),
        ("stretch", {"mean": [1, 2]}),
        ("stretch", {"mean": ["1", 2, 3]}),
        ("stretch", {"mean": [10**400, 2, 3]}),
        ("stretch", {"mean": [math.nan, 2, 3]}),
        ("stretch", {"std": [1e-300, 1, 1]}),
        ("stretch", {"std": [1, 0, 1]}),
        ("stretch", {"std": [1, math.inf, 1]}),
        ("stretch", {"std": "abc"}),
        ("stretch", {"fit": "cover"}),
        ("stretch", {"fit": ["pad"]}),
        ("stretch", {"fit": "box"}),
        ("stretch", {"resize": "cubic"}),
        ("stretch", {"resize": 1}),
        ("stretch", {"crop": 0.9}),
        ("stretch", {"crop": 1.0}),
        ("stretch", {"padding": 1.25}),
        ("stretch", {"frames": 0}),
        ("stretch", {"stride": 1}),
        ("stretch", {"more": 1}),
        ("crop", {"crop": 0}),
        ("crop", {"crop": 1.5}),
        ("crop", {"crop": "0.9"}),
        ("crop", {"fit": "stretch"}),
        ("box", {"size": [256, 1]}),
        ("box", {"padding": 0}),
        ("box", {"padding": "1"}),
        ("box", {"padding": 10**400}),
        ("box", {"udp": 1}),
        ("box", {"resize": "bilinear"}),
        ("box", {"frames": 8, "stride": 1}),
        ("clip", {"frames": 10**9}),
        ("clip", {"frames": 8.0}),
        ("clip", {"stride": -1}),
        ("clip", {"stride": True}),
        ("clip", {"frames": 1024, "size": [4096, 4096]}),
    ],
)
def test_json_is_read_strictly(kind: str, change: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="preprocessing of this bundle") as refused:
        Preprocessing.from_json({**KINDS[kind][0].to_json(), **change})
    assert refused.value.message.endswith(".")
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("kind", KINDS)
def test_json_without_an_entry_is_refused(kind: str) -> None:
    whole = KINDS[kind][0].to_json()
    for name in whole:
        with pytest.raises(BundleError, match="preprocessing of this bundle"):
            Preprocessing.from_json({k: v for k, v in whole.items() if k != name})


@pytest.mark.parametrize("value", [None, [], {}, {"size": [1, 1], "mean": [1, 1, 1], "fit": "pad"}])
def test_what_is_no_preprocessing_is_refused(value: object) -> None:
    with pytest.raises(BundleError, match="preprocessing of this bundle"):
        Preprocessing.from_json(value)


@pytest.mark.parametrize("more", [{"crop": 0.9}, {"padding": 2.0}, {"udp": False}, {"stride": 4}])
def test_what_a_fit_does_not_use_stays_at_its_default(more: dict[str, object]) -> None:
    with pytest.raises(BundleError, match=f"{next(iter(more))} means nothing here"):
        spec(64, 64, **more)  # type: ignore[arg-type]


# --- pictures ------------------------------------------------------------------------------------


def test_stretch_is_the_normalized_opencv_resize() -> None:
    image = photo(683, 512)
    prepared = preprocess(image, spec(448, 320))
    resized = cv2.resize(image, (320, 448), interpolation=cv2.INTER_LINEAR)
    assert prepared.tensor.dtype == np.float32
    assert prepared.tensor.shape == (1, 3, 448, 320)
    assert np.array_equal(prepared.tensor[0], wanted(resized))
    assert prepared.original_size == (683, 512)
    assert prepared.content == Content(0, 0, 448, 320)
    assert prepared.region is None


@pytest.mark.parametrize(
    ("resize", "filter_"),
    [
        ("bicubic", Image.Resampling.BICUBIC),
        ("bilinear-antialias", Image.Resampling.BILINEAR),
    ],
)
@pytest.mark.parametrize("size", [(300, 500), (40, 30)])
def test_antialiased_resizes_are_pillows(resize: str, filter_: int, size: tuple[int, int]) -> None:
    image = photo(*size)
    prepared = preprocess(image, spec(112, 96, resize=resize))
    resized = np.asarray(Image.fromarray(image).resize((96, 112), filter_))
    assert np.array_equal(prepared.tensor[0], wanted(resized))


@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((480, 640), Content(0, 0, 336, 448)),
        ((683, 512), Content(0, 0, 448, 336)),  # 512 * 448 / 683 = 335.8
        ((448, 448), Content(0, 0, 448, 448)),
        ((10, 9000), Content(0, 0, 1, 448)),  # 0.498 rounds to 0, and one row is kept
    ],
)
def test_pad_keeps_proportions_and_fills_with_the_mean(
    size: tuple[int, int], content: Content
) -> None:
    image = photo(*size)
    prepared = preprocess(image, spec(448, 448, "pad"))
    assert prepared.content == content
    assert prepared.tensor.shape == (1, 3, 448, 448)
    inner = prepared.tensor[:, :, : content.height, : content.width]
    outer = preprocess(image, spec(content.height, content.width)).tensor
    assert np.array_equal(inner, outer)
    assert not prepared.tensor[:, :, content.height :].any()
    assert not prepared.tensor[:, :, :, content.width :].any()


@pytest.mark.parametrize(
    ("photo_size", "side", "crop", "resized", "offset"),
    [
        # By torchvision's rules: long = int(short * long / short), top = round((h - side) / 2).
        ((480, 640), 224, 0.9, (248, 330), (12, 53)),  # floor(224 / 0.9) = 248; 330.67 -> 330
        ((640, 480), 224, 0.875, (341, 256), (58, 16)),  # 341.33 -> 341; 58.5 -> 58, to even
        ((500, 333), 224, 0.875, (384, 256), (80, 16)),
        ((300, 300), 384, 0.875, (438, 438), (27, 27)),  # floor(438.86)
        ((100, 101), 64, 1.0, (64, 64), (0, 0)),  # 64.64 -> 64
        ((101, 50), 32, 0.5, (129, 64), (48, 16)),  # 129.28; 48.5 -> 48, to even
        ((103, 50), 32, 0.5, (131, 64), (50, 16)),  # 131.84; 49.5 -> 50, to even
    ],
)
def test_crop_is_resize_and_center_crop(
    photo_size: tuple[int, int],
    side: int,
    crop: float,
    resized: tuple[int, int],
    offset: tuple[int, int],
) -> None:
    image = photo(*photo_size)
    prepared = preprocess(image, spec(side, side, "crop", resize="bicubic", crop=crop))
    picture = Image.fromarray(image).resize(resized[::-1], Image.Resampling.BICUBIC)
    top, left = offset
    middle = np.asarray(picture)[top : top + side, left : left + side]
    assert np.array_equal(prepared.tensor[0], wanted(middle))
    assert prepared.content == Content(0, 0, side, side)


def test_crop_to_a_size_that_is_no_square_covers_both_sides() -> None:
    image = photo(300, 400)
    prepared = preprocess(image, spec(64, 128, "crop"))
    resized = cv2.resize(image, (128, 96), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(prepared.tensor[0], wanted(resized[16:80]))


def test_a_thread_of_a_photo_is_not_cropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESIZED_PIXELS", 100_000)
    with pytest.raises(PictureError, match="too narrow"):
        preprocess(photo(2, 2000), spec(64, 64, "crop"))


def test_a_box_is_all_of_the_photo_where_none_is_given() -> None:
    image = photo(120, 90)
    whole = preprocess(image, spec(64, 48, "box"), (0, 0, 90, 120))
    assert np.array_equal(preprocess(image, spec(64, 48, "box")).tensor, whole.tensor)
    assert whole.region is not None
    assert whole.region.center == (45, 60)
    assert whole.region.extent == (112.5, 150)


@pytest.mark.parametrize("kind", ["stretch", "crop", "box"])
def test_what_the_network_gets_can_be_seen(kind: str) -> None:
    one = KINDS[kind][0]
    image = photo(300, 260)
    seen = visible(preprocess(image, one).tensor, one)
    assert seen.dtype == np.uint8
    assert seen.shape == (*one.size, 3)
    assert np.array_equal(normalized(seen, one), preprocess(image, one).tensor)


# --- clips ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_clip_is_its_frames_one_by_one(fit: Fit) -> None:
    frames = [photo(50, 70, seed) for seed in range(4)]
    prepared = preprocess_clip(frames, spec(32, 64, fit, frames=4))
    assert prepared.tensor.shape == (1, 3, 4, 32, 64)
    assert prepared.original_size == (50, 70)
    for index, frame in enumerate(frames):
        alone = preprocess(frame, spec(32, 64, fit))
        assert np.array_equal(prepared.tensor[:, :, index], alone.tensor)
        assert prepared.content == alone.content


def test_a_clips_middle_is_slowfasts() -> None:
    """uniform_crop begins at ceil(rest / 2), where torchvision rounds half a pixel to even."""
    frames = [photo(64, 69)] * 2
    prepared = preprocess_clip(frames, spec(64, 64, "crop", frames=2))
    assert np.array_equal(prepared.tensor[0, :, 0], wanted(frames[0][:, 3:67]))


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        photo(4, 4)[..., 0],
        photo(4, 4).astype(np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
    ],
)
@pytest.mark.parametrize("fit", ["stretch", "box"])
def test_what_is_no_photo_is_refused(image: NDArray[np.uint8], fit: Fit) -> None:
    with pytest.raises(UsageError, match="A photo is uint8"):
        preprocess(image, spec(8, 8, fit))
    with pytest.raises(UsageError, match="A photo is uint8"):
        preprocess_clip([image], spec(8, 8, frames=1))


def test_pictures_clips_and_boxes_are_not_confused() -> None:
    image = photo(20, 20)
    with pytest.raises(UsageError, match="takes clips of 4 frames, not one picture"):
        preprocess(image, spec(8, 8, frames=4))
    with pytest.raises(UsageError, match="takes single pictures"):
        preprocess_clip([image], spec(8, 8))
    with pytest.raises(UsageError, match="clips of 4 frames, not 3"):
        preprocess_clip([image] * 3, spec(8, 8, frames=4))
    with pytest.raises(UsageError, match="one size"):
        preprocess_clip([image, photo(20, 21)], spec(8, 8, frames=2))
    with pytest.raises(UsageError, match="no boxes"):
        preprocess(image, spec(8, 8), (0, 0, 4, 4))
