"""RECIPES: how each source of weights prepares its pictures, by name; any input size.

A card names the recipe of its official weights, a checkpoint's layout another where it tells its
source, and `--preprocessing` overrides both.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit.errors import UsageError
from edgevit.tasks.preprocessing import (
    MOST_FRAMES,
    MOST_PIXELS,
    Channels,
    Fit,
    Preprocessing,
    Resize,
)

# ImageNet's statistics, one half, and SlowFast's 0.45 and 0.225, all on 0..255.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)
VIDEO_MEAN, VIDEO_STD = (114.75, 114.75, 114.75), (57.375, 57.375, 57.375)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Preprocessing but for the size: what `Preprocessing` has, and where it stands."""

    source: str
    mean: Channels = MEAN
    std: Channels = STD
    fit: Fit = "stretch"
    resize: Resize = "bilinear"
    crop: float = 1.0
    whole_from: int | None = None  # px: inputs this large are not cropped
    stride: int | None = None  # of clips; None: of pictures


# A video recipe is named by its frames and its stride, as SlowFast names its configurations.
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "augreg": Recipe(
            "timm/models/vision_transformer.py, default_cfgs: mean 0.5, crop_pct 0.9, at 384 1.0",
            HALF,
            HALF,
            fit="crop",
            resize="bicubic",
            crop=0.9,
            whole_from=384,
        ),
        "deit": Recipe(
            "facebookresearch/deit datasets.py, build_transform: short side int(256 / 224 * size)",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
        "mae": Recipe(
            "facebookresearch/mae util/datasets.py, build_transform: 224 / 256 up to 224, else 1.0",
            fit="crop",
            resize="bicubic",
            crop=0.875,
            whole_from=225,
        ),
        "huggingface": Recipe(
            "transformers ViTImageProcessor as google/vit-* set it: mean 0.5, PIL bilinear",
            HALF,
            HALF,
            resize="bilinear-antialias",
        ),
        "t2t": Recipe(
            "yitu-opensource/T2T-ViT main.py: bicubic, short side floor(size / 0.9)",
            fit="crop",
            resize="bicubic",
            crop=0.9,
        ),
        "t2t-cifar": Recipe(
            "yitu-opensource/T2T-ViT transfer_learning.py: CIFAR's mean and std, nothing cropped",
            (125.307, 122.961, 113.8575),
            (51.5865, 50.847, 51.255),
            fit="crop",
            resize="bilinear-antialias",
        ),
        "topformer-cls": Recipe(
            "BR-IDL/PaddleViT image_classification/TopFormer: bicubic, crop 0.875",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
        "mvit": Recipe(
            "facebookresearch/mvit: VAL_CROP_RATIO 0.875, bicubic",
            fit="crop",
            resize="bicubic",
            crop=0.875,
        ),
        "timm-mvit": Recipe(
            "timm/models/mvitv2.py, default_cfgs: crop_pct 0.9, bicubic",
            fit="crop",
            resize="bicubic",
            crop=0.9,
        ),
        "mvit-video-16x4": Recipe(
            "SlowFast configs/Kinetics/MVITv2_S_16x4.yaml: mean 0.45, std 0.225",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=4,
        ),
        "mvit-video-32x3": Recipe(
            "SlowFast configs/Kinetics/MVITv2_B_32x3.yaml: mean 0.45, std 0.225",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=3,
        ),
        "mvit-video-40x3": Recipe(
            "SlowFast configs/Kinetics/MVITv2_L_40x3_test.yaml: ImageNet's mean and std",
            fit="crop",
            stride=3,
        ),
        "mvit-video-ssv2": Recipe(
            "SlowFast slowfast/datasets/ssv2.py, get_seq_frames: frames spread over the video",
            VIDEO_MEAN,
            VIDEO_STD,
            fit="crop",
            stride=0,
        ),
        "mvit-video-ssv2-l": Recipe(
            "SlowFast configs/SSv2/MVITv2_L_40x3.yaml: ImageNet's mean and std, frames spread",
            fit="crop",
            stride=0,
        ),
        "segmentation": Recipe(
            "mmseg's img_norm_cfg in TopFormer's and ViT-Adapter's configurations",
        ),
        "detection": Recipe(
            "detectron2 ImageList.from_tensors and mmdet's Pad: proportions kept, padded",
            fit="pad",
        ),
        "augreg-adapter": Recipe(
            "czczup/ViT-Adapter, the configurations that start from AugReg: 127.5",
            HALF,
            HALF,
        ),
        "augreg-detection": Recipe(
            "the same of czczup/ViT-Adapter detection/configs: proportions kept, padded",
            HALF,
            HALF,
            fit="pad",
        ),
        "pose": Recipe("mmpose TopDownAffine with UDP, ToTensor and ImageNet's mean", fit="box"),
        "drawn": Recipe("edgevit's own weights, trained on edgevit.data.scenes"),
        "drawn-video": Recipe(
            "edgevit's own weights, trained on edgevit.data.scenes' clips",
            VIDEO_MEAN,
            VIDEO_STD,
            stride=1,
        ),
    }
)

# How the pictures of a task may meet its network's size.
TASK_FITS: Mapping[str, tuple[Fit, ...]] = MappingProxyType(
    {
        "classification": ("stretch", "pad", "crop"),
        "video": ("stretch", "pad", "crop"),
        "segmentation": ("stretch", "pad"),  # a mask must come back to all of the photo
        "features": ("stretch", "pad", "crop"),
        "pose": ("box",),
    }
)


def recipe_named(name: str) -> Recipe:
    """The recipe of this name; raises `UsageError` that names the nearest."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(RECIPES)}."
        raise UsageError(
            f"There is no preprocessing {name!r}{hint}", next="edgevit export MODEL --help"
        )
    return RECIPES[name]


def preprocessing_of(
    name: str, input_size: tuple[int, ...], fit: Fit | None = None
) -> Preprocessing:
    """The recipe of this name for an input of [frames,] height and width.

    fit replaces the recipe's own. Raises `UsageError` on an unknown name, where pictures, clips
    and boxes are confused, and on an input larger than a bundle may have.
    """
    recipe = recipe_named(name)
    *frames, height, width = input_size
    if bool(frames) != (recipe.stride is not None):
        kinds = ("clips", "pictures") if recipe.stride is not None else ("pictures", "clips")
        raise UsageError(
            f"Preprocessing {name} is for {kinds[0]}, and this network takes {kinds[1]}.",
            next="leave --preprocessing out",
        )
    if fit is not None and "box" in (fit, recipe.fit) and fit != recipe.fit:
        raise UsageError(
            f"Preprocessing {name} has fit {recipe.fit}, which cannot become {fit}.",
            next="leave --fit out",
        )
    if math.prod(input_size) > MOST_PIXELS or max(frames, default=0) > MOST_FRAMES:
        raise UsageError(
            f"An input of {'x'.join(map(str, input_size))} is too large: it has at most"
            f" {MOST_FRAMES} frames, and {MOST_PIXELS} pixels in all of them.",
            next="a smaller --input-size",
        )
    chosen = fit or recipe.fit
    whole = recipe.whole_from is not None and min(height, width) >= recipe.whole_from
    return Preprocessing(
        (height, width),
        recipe.mean,
        recipe.std,
        chosen,
        recipe.resize,
        crop=recipe.crop if chosen == "crop" and not whole else 1.0,
        frames=frames[0] if frames else 0,
        stride=recipe.stride if recipe.stride is not None else 1,
    )


def misfit(task: str, spec: Preprocessing) -> str | None:
    """Why this preprocessing cannot be this task's, as the end of a sentence; None where it can."""
    fits = TASK_FITS.get(task, ())
    if spec.fit not in fits:
        return f"{task} takes fit {' or '.join(fits) or 'none'}, not {spec.fit}"
    if bool(spec.frames) != (task == "video"):
        return f"{task} takes {'clips' if task == 'video' else 'single pictures'}"
    return None
