"""ViTPose's cards: classic and simple decoder, ViTPose+ for one data set, and our micro size.

Counts are those of the network that is built: ViTPose+ with one expert folded in, 17 keypoints.
"""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import Preparation

README = "ViTAE-Transformer/ViTPose README.md"
PROTOCOL = "256x192, person detector of 56 AP, flip test"


def _card(
    variant: str, params: int, gmacs: float, published: tuple[Published, ...] = ()
) -> ModelCard:
    # Official names put the decoder last and the family first; the table's variants do the same.
    return ModelCard(
        name=f"vitpose-{variant}",
        architecture="vitpose",
        variant=variant,
        task="pose",
        input_size=(128, 96) if variant == "micro" else (256, 192),
        size_multiple=16,  # the patch grid: between, heatmaps would shift against the picture
        num_classes=17,
        outputs=("heatmaps",),
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation="pose",
        published=published,
    )


def _coco(ap: float, ar: float, trained: str = "") -> tuple[Published, ...]:
    return (
        Published(f"COCO val AP{trained}, {PROTOCOL}", ap, README),
        Published(f"COCO val AR{trained}, {PROTOCOL}", ar, README),
    )


def _single(
    ap: float, ar: float, multi: tuple[float, float] | None = None
) -> tuple[Published, ...]:
    """Trained on COCO alone; `multi`: on COCO, AIC and MPII."""
    more = _coco(*multi, trained=", trained on COCO, AIC and MPII") if multi else ()
    return (*_coco(ap, ar), *more)


def _plus(
    coco: tuple[float, float],
    aic: float,
    mpii: float,
    ap10k: float,
    apt36k: float,
    wholebody: float,
    ochuman: float,
) -> tuple[Published, ...]:
    return (
        *_coco(*coco),
        Published("AIC AP, dataset=aic", aic, README),
        Published("MPII PCKh, dataset=mpii", mpii, README),
        Published("AP-10K AP, dataset=ap10k", ap10k, README),
        Published("APT-36K AP, dataset=apt36k", apt36k, README),
        Published("WholeBody AP, dataset=wholebody", wholebody, README),
        Published("OCHuman AP, dataset=coco", ochuman, README),
    )


CARDS: tuple[ModelCard, ...] = (
    _card("s", 24_290_577, 5.5939, _single(73.8, 79.2)),
    _card("b", 89_994_513, 18.5228, _single(75.8, 81.1, (77.1, 82.2))),
    _card("l", 308_544_785, 61.569, _single(78.3, 83.5, (78.7, 83.8))),
    _card("h", 637_208_849, 125.8299, _single(79.1, 84.1, (79.5, 84.5))),
    _card("s-simple", 21_722_513, 4.6537, _single(73.5, 78.9)),
    _card("b-simple", 85_912_337, 17.4611, _single(75.5, 80.9)),
    _card("l-simple", 303_453_201, 60.4263, _single(78.2, 83.4)),
    _card("h-simple", 631_107_857, 124.6062, _single(78.9, 84.0)),
    _card("plus-s", 24_290_577, 5.5939, _plus((75.8, 82.6), 29.7, 92.7, 71.4, 74.2, 54.4, 78.4)),
    _card("plus-b", 89_994_513, 18.5228, _plus((77.0, 82.6), 31.8, 92.8, 74.5, 75.9, 57.4, 82.6)),
    _card("plus-l", 308_544_785, 61.569, _plus((78.6, 84.1), 34.3, 94.0, 80.4, 80.8, 60.6, 85.7)),
    _card("plus-h", 637_208_849, 125.8299, _plus((79.4, 84.8), 34.8, 94.2, 82.4, 82.3, 61.2, 85.7)),
    _card("micro", 861_377, 0.0493),
)

PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "pose": Preparation(
            "mmpose TopDownAffine with UDP, ToTensor and ImageNet's mean", fit="box"
        ),
    }
)
