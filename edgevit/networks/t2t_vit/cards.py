"""T2T-ViT's cards; counts hold the fixed position table and the performers' directions too."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import Preparation

README = "yitu-opensource/T2T-ViT README.md"
TIMM = "pytorch-image-models pull request 2426, official weights re-evaluated"


def _card(
    variant: str, params: int, gmacs: float, published: tuple[Published, ...] = ()
) -> ModelCard:
    return ModelCard(
        name=f"t2t-vit-{variant}",
        architecture="t2t_vit",
        variant=variant,
        task="classification",
        input_size=(224, 224),
        size_multiple=16,  # and square: the official code takes the root of the token count
        num_classes=1000,
        outputs=("logits",),
        params=params,
        gmacs=gmacs,
        license="BSD-3-Clause-Clear",
        preparation="t2t",
        published=published,
    )


def _imagenet(readme: float, timm: float, *more: Published) -> tuple[Published, ...]:
    return (
        Published("ImageNet top-1", readme, README),
        Published("ImageNet top-1", timm, TIMM),
        *more,
    )


AT_384 = Published("ImageNet top-1, 384x384", 83.3, README)
TOKEN_LABELING = Published("ImageNet top-1, trained with token labeling", 84.2, README)

# The ghost's channel factors count as the depthwise convolutions that the official code has there.
CARDS: tuple[ModelCard, ...] = (
    _card("7", 4_310_222, 1.1469, _imagenet(71.7, 71.676)),
    _card("10", 5_889_230, 1.5163, _imagenet(75.2, 75.150)),
    _card("12", 6_941_902, 1.7626, _imagenet(76.5, 76.480)),
    _card("14", 21_545_550, 4.7835, _imagenet(81.5, 81.500, AT_384)),
    _card("19", 39_177_422, 8.4797, _imagenet(81.9, 81.932)),
    _card("24", 64_105_934, 13.6619, _imagenet(82.3, 82.276, TOKEN_LABELING)),
    _card("t-14", 21_541_070, 6.0887, _imagenet(81.7, 81.688)),
    _card("t-19", 39_172_942, 9.7849, _imagenet(82.4, 82.442)),
    _card("t-24", 64_101_454, 14.9671, _imagenet(82.6, 82.554)),
    # The paper's comparisons of structures, for which no weights were released.
    _card("14-resnext", 21_545_550, 4.7835),
    _card("14-wide", 25_156_302, 5.2293),
    _card("14-se", 21_803_598, 4.7837),
    _card("16-ghost", 16_253_262, 3.8015),
    _card("dense", 23_647_062, 5.2761),
    # Ours, for the demonstration data: the nine kinds of object of edgevit.data.scenes.
    ModelCard(
        name="t2t-vit-micro",
        architecture="t2t_vit",
        variant="micro",
        task="classification",
        input_size=(112, 112),
        size_multiple=16,
        num_classes=9,
        outputs=("logits",),
        params=912_239,
        gmacs=0.1035,
        license="Apache-2.0",
        preparation="drawn",
    ),
)

PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "t2t": Preparation(
            "yitu-opensource/T2T-ViT main.py: bicubic, short side floor(size / 0.9)",
            fit="crop",
            resize="bicubic",
            crop=0.9,
        ),
        "t2t-cifar": Preparation(
            "yitu-opensource/T2T-ViT transfer_learning.py: CIFAR's mean and std, nothing cropped",
            (125.307, 122.961, 113.8575),
            (51.5865, 50.847, 51.255),
            fit="crop",
            resize="bilinear-antialias",
        ),
    }
)
