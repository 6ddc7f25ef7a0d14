"""MViTv2's cards: picture and video classifiers, the detection backbone, and our micro sizes."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.networks.card import ModelCard, Published
from edgevit.networks.preparation import VIDEO_MEAN, VIDEO_STD, Preparation

README = "facebookresearch/mvit README.md"
TIMM = "timm results-imagenet.csv, mvitv2_*.fb_in1k, 224x224, crop 0.9"
SLOWFAST = "facebookresearch/SlowFast projects/mvitv2/README.md"
DETECTRON = "facebookresearch/detectron2 projects/MViTv2/README.md"
PYRAMID = ("p2", "p3", "p4", "p5", "p6")


def _image(
    variant: str,
    params: int,
    gmacs: float,
    published: tuple[Published, ...] = (),
    side: int = 224,
    classes: int = 1000,
    preparation: str = "mvit",
) -> ModelCard:
    return ModelCard(
        name=f"mvitv2-{variant}",
        architecture="mvitv2",
        variant=variant,
        task="classification",
        input_size=(side, side),
        size_multiple=32,  # between, the official tables and maps round to different sizes
        num_classes=classes,
        outputs=("logits",),
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation=preparation,
        published=published,
    )


def _video(
    variant: str,
    size: tuple[int, int, int],
    params: int,
    gmacs: float,
    preparation: str,
    published: tuple[Published, ...] = (),
    classes: int = 400,
) -> ModelCard:
    return ModelCard(
        name=f"mvitv2-{variant}-video",
        architecture="mvitv2",
        variant=variant,
        task="video",
        input_size=size,
        size_multiple=1,  # maps round up, and tables are stretched to them: the official L at 312
        num_classes=classes,
        outputs=("logits",),
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation=preparation,
        published=published,
    )


def _fpn(variant: str, params: int, gmacs: float, published: tuple[Published, ...]) -> ModelCard:
    return ModelCard(
        name=f"mvitv2-{variant}-fpn",
        architecture="mvitv2",
        variant=variant,
        task="features",
        input_size=(672, 672),  # three windows of 224 a side: none of them is padded
        size_multiple=32,
        num_classes=None,
        outputs=PYRAMID,
        params=params,
        gmacs=gmacs,
        license="Apache-2.0",
        preparation="detection",
        published=published,
    )


def _imagenet(official: float, timm: float) -> tuple[Published, ...]:
    return (
        Published("ImageNet top-1", official, README),
        Published("ImageNet top-1, crop 0.9", timm, TIMM),
    )


def _clips(kinetics: tuple[float, float], something: tuple[float, float]) -> tuple[Published, ...]:
    return (
        Published("Kinetics-400 top-1", kinetics[0], SLOWFAST),
        Published("Kinetics-400 top-5", kinetics[1], SLOWFAST),
        Published("Something-Something v2 top-1", something[0], SLOWFAST),
        Published("Something-Something v2 top-5", something[1], SLOWFAST),
    )


def _coco(detector: str, box: float, mask: float) -> tuple[Published, ...]:
    return (
        Published(f"COCO box AP, {detector}", box, DETECTRON),
        Published(f"COCO mask AP, {detector}", mask, DETECTRON),
    )


CASCADE = "Cascade Mask R-CNN"
L_21K = (Published("ImageNet top-1, ImageNet-21k first", 87.5, README),)
H_21K = (Published("ImageNet top-1, ImageNet-21k first", 88.0, README),)

CARDS = (
    _image("t", 24_173_320, 4.677, _imagenet(82.3, 82.408)),
    _image("s", 34_870_216, 6.9597, _imagenet(83.6, 83.772)),
    _image("b", 51_472_744, 10.1024, _imagenet(84.4, 84.424)),
    _image("l", 217_992_952, 43.7112, (*_imagenet(85.3, 85.264), *L_21K)),
    _image("h", 666_879_912, 120.305, H_21K),
    _video(
        "s",
        (16, 224, 224),
        34_537_744,
        64.2238,
        "mvit-video-16x4",
        _clips((81.0, 94.6), (68.2, 91.4)),
    ),
    _video(
        "b",
        (32, 224, 224),
        51_230_128,
        224.4728,
        "mvit-video-32x3",
        _clips((82.9, 95.7), (70.5, 92.7)),
    ),
    _video(
        "l",
        (40, 312, 312),
        213_390_112,
        2823.4041,
        "mvit-video-40x3",
        _clips((86.1, 97.0), (73.3, 94.1)),
    ),
    _fpn(
        "t",
        26_135_648,
        66.7813,
        (*_coco("Mask R-CNN", 48.3, 43.8), *_coco(CASCADE, 52.2, 45.0)),
    ),
    _fpn("s", 36_832_544, 87.3261, _coco(CASCADE, 53.2, 46.0)),
    _fpn(
        "b",
        53_435_072,
        115.6106,
        (*_coco(CASCADE, 54.1, 46.7), *_coco(f"{CASCADE}, ImageNet-21k first", 54.9, 47.4)),
    ),
    _fpn("l", 215_398_688, 401.8216, _coco(f"{CASCADE}, ImageNet-21k first", 55.8, 48.3)),
    _fpn("h", 668_444_032, 1103.5725, _coco(f"{CASCADE}, ImageNet-21k first", 56.1, 48.5)),
    _image("micro", 786_081, 0.0724, side=128, classes=9, preparation="drawn"),
    _video("micro", (8, 96, 96), 799_257, 0.1691, "drawn-video", classes=9),
)

# A video preparation is named by its frames and its stride, as SlowFast names its configurations.
PREPARATIONS: Mapping[str, Preparation] = MappingProxyType(
    {
        "mvit": Preparation(
            "facebookresearch/mvit: VAL_CROP_RATIO 0.875, bicubic",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
        "timm-mvit": Preparation(
            "timm/models/mvitv2.py, default_cfgs: crop_pct 0.9, bicubic",
            fit="crop",
            resize="bicubic",
            crop=0.9,
        ),
        "mvit-video-16x4": Preparation(
            "SlowFast configs/Kinetics/MVITv2_S_16x4.yaml: mean 0.45, std 0.225",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=4,
        ),
        "mvit-video-32x3": Preparation(
            "SlowFast configs/Kinetics/MVITv2_B_32x3.yaml: mean 0.45, std 0.225",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=3,
        ),
        "mvit-video-40x3": Preparation(
            "SlowFast configs/Kinetics/MVITv2_L_40x3_test.yaml: ImageNet's mean and std",
            fit="crop",
            stride=3,
        ),
        "mvit-video-ssv2": Preparation(
            "SlowFast slowfast/datasets/ssv2.py, get_seq_frames: frames spread over the video",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=0,
        ),
        "mvit-video-ssv2-l": Preparation(
            "SlowFast configs/SSv2/MVITv2_L_40x3.yaml: ImageNet's mean and std, frames spread",
            fit="crop",
            stride=0,
        ),
    }
)
