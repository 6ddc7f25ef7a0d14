"""Preparations: the table is whole, every card's fits its task, and sizes are the sources' own."""

import pytest

from edgevit.errors import BundleError, UsageError
from edgevit.networks.preparation import HALF, MEAN, STD
from edgevit.networks.zoo import MODELS, PREPARATIONS, preparation_named, preprocessing_of
from edgevit.tasks.fits import misfit
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.table import TASKS


def size_for(name: str) -> tuple[int, ...]:
    return (224, 224) if PREPARATIONS[name].stride is None else (16, 224, 224)


@pytest.mark.parametrize("name", PREPARATIONS)
def test_every_preparation_makes_a_preprocessing_and_names_its_source(name: str) -> None:
    found = preprocessing_of(name, size_for(name))
    assert Preprocessing.from_json(found.to_json()) == found
    assert found.input_size == size_for(name)
    assert len(PREPARATIONS[name].source) > 20
    assert any(misfit(task, found) is None for task in TASKS)


def test_every_card_names_a_preparation_of_its_task() -> None:
    for name, card in MODELS.items():
        assert misfit(card.task, preprocessing_of(card.preparation, card.input_size)) is None, name


def test_no_preparation_is_unused_but_those_that_layouts_and_users_name() -> None:
    named = {card.preparation for card in MODELS.values()}
    assert set(PREPARATIONS) - named == {
        *("deit", "mae", "huggingface", "t2t-cifar", "timm-mvit"),
        *("mvit-video-ssv2", "mvit-video-ssv2-l"),
    }


@pytest.mark.parametrize(
    ("name", "side", "crop"),
    [
        ("augreg", 224, 0.9),
        ("augreg", 384, 1.0),
        ("augreg", 518, 1.0),
        ("deit", 384, 0.875),
        ("mae", 224, 0.875),
        ("mae", 384, 1.0),
        ("t2t", 384, 0.9),
        ("mvit", 224, 0.875),
        ("timm-mvit", 224, 0.9),
    ],
)
def test_crops_are_the_sources(name: str, side: int, crop: float) -> None:
    found = preprocessing_of(name, (side, side))
    assert (found.fit, found.resize, found.crop) == ("crop", "bicubic", crop)


def test_means_by_hand() -> None:
    half = preprocessing_of("augreg", (224, 224))
    # (v / 255 - 0.5) / 0.5 = (v - 127.5) / 127.5
    assert half.mean == half.std == HALF == (0.5 * 255,) * 3
    assert pytest.approx((0.485 * 255, 0.456 * 255, 0.406 * 255)) == MEAN
    assert pytest.approx((0.229 * 255, 0.224 * 255, 0.225 * 255)) == STD
    cifar = preprocessing_of("t2t-cifar", (224, 224))
    assert cifar.mean == pytest.approx((0.4914 * 255, 0.4822 * 255, 0.4465 * 255))
    assert cifar.std == pytest.approx((0.2023 * 255, 0.1994 * 255, 0.2010 * 255))
    assert (cifar.fit, cifar.resize, cifar.crop) == ("crop", "bilinear-antialias", 1.0)
    small = preprocessing_of("mvit-video-16x4", (16, 224, 224))
    assert small.mean == pytest.approx((0.45 * 255,) * 3)
    assert small.std == pytest.approx((0.225 * 255,) * 3)
    assert (small.frames, small.stride) == (16, 4)
    large = preprocessing_of("mvit-video-40x3", (40, 312, 312))
    assert (large.mean, large.frames, large.stride) == (MEAN, 40, 3)


def test_a_fit_can_be_asked_for() -> None:
    padded = preprocessing_of("segmentation", (64, 96), "pad")
    assert (padded.fit, padded.crop) == ("pad", 1.0)
    assert preprocessing_of("deit", (224, 224), "stretch").fit == "stretch"
    with pytest.raises(UsageError, match="fit box, which cannot be changed to pad"):
        preprocessing_of("pose", (256, 192), "pad")
    with pytest.raises(UsageError, match="fit stretch, which cannot be changed to box"):
        preprocessing_of("drawn", (64, 64), "box")


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean augreg"):
        preparation_named("augreq")
    with pytest.raises(UsageError, match=r"there are .*augreg, deit"):
        preparation_named("???")


def test_clips_and_pictures_are_not_confused() -> None:
    with pytest.raises(UsageError, match="is for clips, and this network takes pictures"):
        preprocessing_of("drawn-video", (64, 64))
    with pytest.raises(UsageError, match="is for pictures, and this network takes clips"):
        preprocessing_of("drawn", (8, 64, 64))


@pytest.mark.parametrize("size", [(1025, 64, 64), (17, 2048, 2048)])
def test_what_no_bundle_may_hold_is_the_users_to_change(size: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=f"{size[0]}x{size[1]}x{size[2]} is too large") as refused:
        preprocessing_of("drawn-video", size)
    assert not isinstance(refused.value, BundleError)
    assert refused.value.next == "a smaller --input-size"


def test_misfits_say_why() -> None:
    cropped = preprocessing_of("deit", (224, 224))
    assert misfit("classification", cropped) is None
    assert misfit("segmentation", cropped) == "segmentation takes fit stretch or pad, not crop"
    assert misfit("pose", cropped) == "pose takes fit box, not crop"
    assert misfit("video", cropped) == "video takes clips"
    clip = preprocessing_of("drawn-video", (8, 64, 64))
    assert misfit("classification", clip) == "classification takes single pictures"
    assert misfit("cooking", cropped) == "cooking takes fit none, not crop"
