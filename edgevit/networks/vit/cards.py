"""ViT's cards. Counts are at the default size with the default classes."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import HALF, Preparation

TIMM = "huggingface/pytorch-image-models results/results-imagenet.csv"
README = "google-research/vision_transformer README.md"
PAPER = "Dosovitskiy et al., ICLR 2021, table 2"


def _timm(value: float, size: int, weights: str) -> Published:
    return Published(f"ImageNet top-1, {size}x{size}, {weights}", value, TIMM)


def _google(value: float, weights: str) -> Published:
    return Published(f"ImageNet top-1, 384x384, {weights}", value, README)


def _vit(
    variant: str,
    patch: int,
    size: int,
    params: int,
    gmacs: float,
    published: tuple[Published, ...] = (),
    classes: int = 1000,
) -> ModelCard:
    return ModelCard(
        name=f"vit-{variant}",
        architecture="vit",
        variant=variant,
        task="classification",
        input_size=(size, size),
        size_multiple=patch,
        num_classes=classes,
        outputs=("logits",),
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation="drawn" if variant == "micro" else "augreg",
        published=published,
    )


AUGREG = "AugReg, in21k to in1k"
AUGREG2 = "AugReg, fine-tuned again by timm (augreg2), in21k to in1k"  # timm's default weights
AUGREG_1K = "AugReg, in1k alone"
ORIGINAL = "original, in21k to in1k"

CARDS: tuple[ModelCard, ...] = (
    _vit(
        "tiny-16",
        16,
        224,
        5_717_416,
        1.2537,
        (_timm(75.452, 224, AUGREG), _timm(78.438, 384, AUGREG), _google(78.22, AUGREG)),
    ),
    _vit(
        "small-16",
        16,
        224,
        22_050_664,
        4.5989,
        (
            _timm(81.402, 224, AUGREG),
            _timm(78.842, 224, AUGREG_1K),
            _timm(83.814, 384, AUGREG),
            _google(83.73, AUGREG),
        ),
    ),
    _vit(
        "small-32",
        32,
        224,
        22_878_952,
        1.1429,
        (_timm(76.010, 224, AUGREG), _google(79.58, AUGREG)),
    ),
    _vit(
        "base-16",
        16,
        224,
        86_567_656,
        17.5638,
        (
            _timm(84.534, 224, AUGREG),
            _timm(85.108, 224, AUGREG2),
            _timm(86.010, 384, AUGREG),
            _timm(81.782, 224, ORIGINAL),
            _timm(84.212, 384, ORIGINAL),
            _google(85.49, AUGREG),
            _google(84.53, ORIGINAL),
        ),
    ),
    _vit(
        "base-32",
        32,
        224,
        88_224_232,
        4.4092,
        (
            _timm(80.732, 224, AUGREG),
            _timm(83.358, 384, AUGREG),
            _google(83.59, AUGREG),
            _google(81.66, ORIGINAL),
        ),
    ),
    _vit(
        "base-8",
        8,
        224,
        86_576_872,
        78.1483,
        (_timm(85.838, 224, AUGREG), _timm(86.252, 224, AUGREG2)),
    ),
    _vit(
        "large-16",
        16,
        224,
        304_326_632,
        61.5547,
        (
            _timm(85.856, 224, AUGREG),
            _timm(87.096, 384, AUGREG),
            _google(85.59, AUGREG),
            _google(85.05, ORIGINAL),
        ),
    ),
    # Its only published classifier is the one at 384.
    _vit(
        "large-32",
        32,
        384,
        306_632_680,
        45.2760,
        (_timm(81.508, 384, ORIGINAL), _google(81.89, ORIGINAL)),
    ),
    # Published without an ImageNet classifier; the score is of JFT weights that are not public.
    _vit(
        "huge-14",
        14,
        224,
        632_045_800,
        167.2951,
        (Published("ImageNet top-1, 518x518, JFT-300M (weights not public)", 88.55, PAPER),),
    ),
    _vit("micro", 16, 112, 750_825, 0.0397, classes=9),
)

PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "augreg": Preparation(
            "timm/models/vision_transformer.py, default_cfgs: mean 0.5, crop_pct 0.9, at 384 1.0",
            HALF,
            HALF,
            fit="crop",
            resize="bicubic",
            crop=0.9,
            whole_from=384,
        ),
        "deit": Preparation(
            "facebookresearch/deit datasets.py, build_transform: short side int(256 / 224 * size)",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
        "mae": Preparation(
            "facebookresearch/mae util/datasets.py, build_transform: 224 / 256 up to 224, else 1.0",
            fit="crop",
            resize="bicubic",
            crop=0.875,
            whole_from=225,
        ),
        "huggingface": Preparation(
            "transformers ViTImageProcessor as google/vit-* set it: mean 0.5, PIL bilinear",
            HALF,
            HALF,
            resize="bilinear-antialias",
        ),
    }
)
