"""The TopFormer networks.

Parameter counts leave batch-norm statistics out; MACs are convolutions and matrix products at the
default input size.
"""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import Preparation

README = "hustvl/TopFormer README.md"
PADDLE = "BR-IDL/PaddleViT, official EMA weights re-evaluated"


def _topformer(
    variant: str,
    task: str,
    size: int,
    params: int,
    gmacs: float,
    published: tuple[Published, ...] = (),
) -> ModelCard:
    suffix, classes, outputs, preparation = {
        "segmentation": ("", 150, ("logits",), "segmentation"),
        "classification": ("-cls", 1000, ("logits",), "topformer-cls"),
        "features": ("-features", None, ("scale8", "scale16", "scale32"), "segmentation"),
    }[task]
    return ModelCard(
        name=f"topformer-{variant}{suffix}",
        architecture="topformer",
        variant=variant,
        task=task,
        input_size=(size, size),
        size_multiple=8,  # logits come at 1/8: between, they would shift against the picture
        num_classes=classes,
        outputs=outputs,
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation=preparation,
        published=published,
    )


def _ade(batch16: float, batch32: float, size: int) -> tuple[Published, ...]:
    return (
        Published(f"ADE20K mIoU, {size}x{size}, batch 16", batch16, README),
        Published(f"ADE20K mIoU, {size}x{size}, batch 32", batch32, README),
    )


def _imagenet(names: float, paddle: float) -> tuple[Published, ...]:
    return (
        Published("ImageNet top-1", names, f"{README}, checkpoint file names"),
        Published("ImageNet top-1, bicubic, crop 0.875", paddle, PADDLE),
    )


CARDS: tuple[ModelCard, ...] = (
    _topformer("t", "segmentation", 448, 1_389_654, 0.4084, _ade(32.5, 33.4, 448)),
    _topformer("s", "segmentation", 512, 3_034_662, 1.1123, _ade(36.5, 37.0, 512)),
    _topformer("b", "segmentation", 512, 5_062_646, 1.7522, _ade(38.3, 39.2, 512)),
    _topformer("t", "classification", 224, 1_503_304, 0.1202, _imagenet(66.2, 65.98)),
    _topformer("s", "classification", 224, 3_105_928, 0.2276, _imagenet(72.3, 72.44)),
    _topformer("b", "classification", 224, 5_068_872, 0.3644, _imagenet(75.3, 75.25)),
    _topformer("t", "features", 448, 1_369_920, 0.3478),
    _topformer("s", "features", 512, 2_968_464, 0.8433),
    _topformer("b", "features", 512, 4_958_048, 1.3265),
)

PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "topformer-cls": Preparation(
            "BR-IDL/PaddleViT image_classification/TopFormer: bicubic, crop 0.875",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
    }
)
