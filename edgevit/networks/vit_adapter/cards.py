"""The cards of all ViT-Adapter networks. Loads no torch.

Counts and MACs agree with the official code's; UperNet's parameters include the auxiliary head, as
the published totals do, its MACs do not.
"""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import HALF, Preparation

ADE20K = "czczup/ViT-Adapter segmentation/README.md"
COCO = "czczup/ViT-Adapter detection/README.md"
LICENSE = "Apache-2.0"
MAPS = ("scale4", "scale8", "scale16", "scale32")


def _features(
    variant: str,
    params: int,
    gmacs: float,
    published: tuple[Published, ...] = (),
    preparation: str = "segmentation",
) -> ModelCard:
    return ModelCard(
        name=f"vit-adapter-{variant}",
        architecture="vit_adapter",
        variant=variant,
        task="features",
        input_size=(512, 512),
        size_multiple=32,
        num_classes=None,
        outputs=MAPS,
        params=params,
        gmacs=gmacs,
        license=LICENSE,
        preparation=preparation,
        published=published,
    )


def _upernet(
    variant: str,
    params: int,
    gmacs: float,
    published: tuple[Published, ...] = (),
    size: int = 512,
    classes: int = 150,
    preparation: str = "segmentation",
) -> ModelCard:
    return ModelCard(
        name=f"vit-adapter-{variant}-upernet",
        architecture="vit_adapter",
        variant=variant,
        task="segmentation",
        input_size=(size, size),
        size_multiple=32,
        num_classes=classes,
        outputs=("logits",),
        params=params,
        gmacs=gmacs,
        license=LICENSE,
        preparation=preparation,
        published=published,
    )


def _ade(pretraining: str, single: float, multi: float) -> tuple[Published, ...]:
    return (
        Published(f"ADE20K mIoU, 512 slide, {pretraining}", single, ADE20K),
        Published(f"ADE20K mIoU, multi-scale, {pretraining}", multi, ADE20K),
    )


def _coco(pretraining: str, box: float, mask: float) -> tuple[Published, ...]:
    return (
        Published(f"COCO Mask R-CNN 3x box AP, {pretraining}", box, COCO),
        Published(f"COCO Mask R-CNN 3x mask AP, {pretraining}", mask, COCO),
    )


CARDS: tuple[ModelCard, ...] = (
    _features("t", 7_966_640, 20.6711),
    _features("s", 27_503_888, 53.6295),
    _features("b", 99_495_392, 157.0968),
    _features("l", 326_973_632, 445.7065, preparation="augreg-adapter"),
    _features("t-det", 7_966_640, 18.5120, _coco("DeiT", 46.0, 41.0), "detection"),
    _features("s-det", 27_503_888, 49.3113, _coco("DeiT", 48.2, 42.8), "detection"),
    _features("b-det", 99_495_392, 148.4604, _coco("DeiT", 49.6, 43.6), "detection"),
    _features("l-det", 326_973_632, 416.9185, _coco("AugReg", 52.1, 46.0), "augreg-detection"),
    _upernet("t", 36_062_428, 232.0438, (*_ade("DeiT", 42.6, 43.6), *_ade("AugReg", 43.9, 44.8))),
    _upernet("s", 57_614_908, 267.3475, _ade("DeiT", 46.2, 47.1)),
    _upernet("b", 133_636_876, 375.5055, (*_ade("DeiT", 48.8, 49.7), *_ade("AugReg", 51.9, 52.5))),
    _upernet("l", 363_802_092, 667.2423, _ade("AugReg", 53.4, 54.4), preparation="augreg-adapter"),
    _upernet("micro", 930_532, 0.2825, size=128, classes=10, preparation="drawn"),
)

PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "augreg-adapter": Preparation(
            "czczup/ViT-Adapter, the configurations that start from AugReg: 127.5",
            HALF,
            HALF,
        ),
        "augreg-detection": Preparation(
            "the same of czczup/ViT-Adapter detection/configs: proportions kept, padded",
            HALF,
            HALF,
            fit="pad",
        ),
    }
)
