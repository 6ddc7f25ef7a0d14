"""ViT-Adapter's checkpoints: mmseg and mmdet files, a backbone alone, and plain ViTs to start from.

Source: official czczup/ViT-Adapter releases (`backbone.` beside `decode_head.` and
`auxiliary_head.`, or beside `neck.`, `rpn_head.` and `roi_head.`); DeiT's {'model'} and timm's
AugReg files are what official training starts from.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.vit_adapter.network import (
    COARSEST,
    CONFIGS,
    SCALES,
    Config,
    light,
    with_windows,
)

PREFER = ("state_dict", "model")

# What keys and shapes cannot tell. Layers of a light adapter can be told; whether ViT features are
# added to its maps cannot, and official light files add none.
OPTIONS = ("window_attention", "light")
FLAGS = {"1": True, "true": True, "0": False, "false": False}

BACKBONE = "backbone."
KERNEL = (3, 16, 16)  # of a plain ViT's patches
STAGE = f"{BACKBONE}interactions."
SEGMENTATION_HEADS = ("decode_head.", "auxiliary_head.")
DETECTION_HEADS = ("neck.", "rpn_head.", "roi_head.", "bbox_head.")
# A plain ViT's class token, final norm and classifier: the adapter has no place for them.
PLAIN_ONLY = ("cls_token", "norm.", "head.")
ADAPTER = tuple(
    f"{BACKBONE}{name}" for name in ("level_embed", "spm", "interactions", "up", "norm")
)

# The released networks with a table of 384 px started from AugReg and keep its normalization
# (upernet_augreg_adapter_{base,large}_512_160k_ade20k.py); the tiny one, of 224 px, has ImageNet's.
AUGREG_GRID, AUGREG_PREPARATION = (24, 24), "augreg-adapter"

# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
MAX_CLASSES, MAX_WIDTH, MAX_SIDE = 65_536, 1024, 256


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The card's configuration at an input size with the caller's options.

    `window_attention` puts windows where the official detection configs have them (the default of
    `-det`) or nowhere; `light` is the adapter with one interaction. Raises `UsageError`.
    """
    if len(input_size) != 2 or any(side < COARSEST or side % COARSEST for side in input_size):
        raise UsageError(
            f"{card.name} takes a height and a width that are multiples of {COARSEST}, not"
            f" {'x'.join(map(str, input_size))}.",
            next=f"edgevit info {card.name}",
        )
    config = replace(CONFIGS[card.variant], input_size=(input_size[0], input_size[1]))
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(
                f"ViT-Adapter has no option {name!r}; it has {' and '.join(OPTIONS)}.",
                next=f"edgevit info {card.name}",
            )
        wanted = _flag(name, value)
        if name == "window_attention":
            config = with_windows(config) if wanted else replace(config, global_every=0)
        elif wanted:
            config = light(config)
    return replace(config, num_classes=num_classes) if num_classes else config


def _flag(name: str, value: object) -> bool:
    found = FLAGS.get(str(value).lower())
    if found is None:
        raise UsageError(f"{name}={value!r} is neither true nor false.", next=f"--option {name}=1")
    return found


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
) -> Adapted[Config]:
    """Bring a state dict to the card's network; what keys and shapes tell overrides the defaults.

    Raises `CheckpointError` on a BEiT-Adapter, on a file of the other function (segmentation and
    detection share their keys, not their computation), and on shapes that no ViT-Adapter has.
    """
    _refuse_other_networks(tensors, card)
    if _is_plain_vit(tensors):
        return _plain_vit(tensors, card, config)
    if any(key.startswith("spm.") for key in tensors):  # a backbone alone
        tensors = {f"{BACKBONE}{key}": value for key, value in tensors.items()}
    if card.task == "features":
        # The network ends at the maps that these heads read.
        heads = (*SEGMENTATION_HEADS, *DETECTION_HEADS)
        tensors = {k: v for k, v in tensors.items() if not k.startswith(heads)}
    else:
        config = _heads(tensors, config)
    config = _structure(tensors, config, options)
    augreg = config.grid == AUGREG_GRID and card.preparation == "segmentation"
    return Adapted(config, tensors, preparation=AUGREG_PREPARATION if augreg else None)


def _refuse_other_networks(tensors: Mapping[str, Tensor], card: ModelCard) -> None:
    if any(key.endswith("relative_position_bias_table") for key in tensors):
        raise CheckpointError(
            "The checkpoint's blocks are BEiT's (relative position tables, class token), which"
            f" {card.name} does not have.",
            next="see docs/scope.md; a DeiT or AugReg ViT-Adapter checkpoint fits",
        )
    detects = card.variant.endswith("-det")
    for heads, what, fits in (
        (SEGMENTATION_HEADS, "segmentation", not detects),
        (DETECTION_HEADS, "detection", detects),
    ):
        found = [head for head in heads if any(key.startswith(head) for key in tensors)]
        if found and not fits:
            name = recognize({key: tuple(value.shape) for key, value in tensors.items()})
            raise CheckpointError(
                f"The checkpoint holds a {what} network ({found[0].removesuffix('.')}), which"
                f" has the same keys as {card.name} but computes something else.",
                next=f"edgevit export {name} --weights CHECKPOINT.pth" if name else "edgevit list",
            )


def _is_plain_vit(tensors: Mapping[str, Tensor]) -> bool:
    patches = tensors.get("patch_embed.proj.weight")
    if patches is None or tuple(patches.shape[1:]) != KERNEL:
        return False
    return not any(key.startswith("spm.") for key in tensors)


def _plain_vit(tensors: Mapping[str, Tensor], card: ModelCard, config: Config) -> Adapted[Config]:
    """A pretrained ViT as the start of training: the adapter and the heads stay untrained.

    Layer scale starts at one, where it changes nothing; no plain ViT's file holds it.
    """
    kept = {f"{BACKBONE}{k}": v for k, v in tensors.items() if not k.startswith(PLAIN_ONLY)}
    scales = {
        f"{BACKBONE}blocks.{index}.{name}": torch.ones(config.dim)
        for index in range(config.depth)
        for name in ("gamma1", "gamma2")
        if config.layer_scale
    }
    heads = ("decode_head", "auxiliary_head") if card.task == "segmentation" else ()
    return Adapted(_table(kept, config), {**scales, **kept}, (*ADAPTER, *heads))


def _heads(tensors: Mapping[str, Tensor], config: Config) -> Config:
    """Classes and widths of UperNet, and whether the auxiliary head is there."""
    classifier = _widths(tensors, "decode_head.conv_seg.weight")
    if classifier is not None:
        config = replace(config, num_classes=classifier[0], head_channels=classifier[1])
    auxiliary = _widths(tensors, "auxiliary_head.conv_seg.weight")
    if auxiliary is not None:
        config = replace(config, aux_channels=auxiliary[1])
    present = any(key.startswith("auxiliary_head.") for key in tensors)
    return replace(config, auxiliary=present)


def _structure(
    tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]
) -> Config:
    """The position table's grid, layer scale, and the adapter's interactions and their parts."""
    config = _table(tensors, config)
    blocks = [key for key in tensors if key.startswith(f"{BACKBONE}blocks.")]
    if blocks:
        config = replace(config, layer_scale=any(key.endswith(".gamma1") for key in blocks))
    parts = [key.removeprefix(STAGE).split(".") for key in tensors if key.startswith(STAGE)]
    count = len({part[0] for part in parts})
    if not parts or config.depth % count:
        return config  # the strict loader names what is missing or too much
    conv_ffn = any(part[1:3] == ["extractor", "ffn"] for part in parts)
    extra = len({part[2] for part in parts if part[1:2] == ["extra_extractors"] and part[2:]})
    is_light = count == 1 and not extra
    if "light" in options and _flag("light", options["light"]) != is_light:
        what = "a light adapter" if is_light else "a full adapter, not a light one"
        raise CheckpointError(
            f"The checkpoint holds {what}.",
            next="leave the option light out: it is read from the file",
        )
    if is_light:  # the official one has no convolutions in it; a file of one's own may
        return replace(light(config), conv_ffn=conv_ffn)
    # The segmentation code adds the tokens after each of four interactions; with another number of
    # them it can only have been trained without.
    lacking = config.vit_features == "stages" and count != len(SCALES)
    return replace(
        config,
        interactions=count,
        conv_ffn=conv_ffn,
        extra_extractors=min(extra, 2),
        vit_features="none" if lacking else config.vit_features,
    )


def _table(tensors: Mapping[str, Tensor], config: Config) -> Config:
    """The grid of the position table: a square beside the class token's row."""
    table = tensors.get(f"{BACKBONE}pos_embed")
    if table is None or table.ndim != 3:
        return config
    side = math.isqrt(max(0, table.shape[1] - 1))
    if side * side + 1 != table.shape[1] or not 1 <= side <= MAX_SIDE:
        return config
    return replace(config, grid=(side, side))


def _widths(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int] | None:
    """Classes and inputs of a classifier; None where the file has none.

    Raises `CheckpointError` on widths that would cost more to build than a file can mean.
    """
    tensor = tensors.get(key)
    if tensor is None or tensor.ndim != 4:
        return None
    classes, inputs = tensor.shape[:2]
    if not (1 <= classes <= MAX_CLASSES and 1 <= inputs <= MAX_WIDTH):
        raise CheckpointError(
            f"The checkpoint's {key} has {classes} outputs and {inputs} inputs; no"
            " UperNet has that.",
            next="edgevit list",
        )
    return classes, inputs


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by width and heads."""
    prefix = BACKBONE if f"{BACKBONE}level_embed" in shapes else ""
    levels = shapes.get(f"{prefix}level_embed", ())
    if len(levels) != 2 or f"{prefix}spm.stem.0.weight" not in shapes:
        return None
    suffix = ""
    if "decode_head.fpn_bottleneck.conv.weight" in shapes:
        suffix = "-upernet"
    elif any(key.startswith(DETECTION_HEADS) for key in shapes):
        suffix = "-det"
    for variant in ("t", "s", "b", "l"):
        if CONFIGS[variant].dim == levels[1]:
            return f"vit-adapter-{variant}{suffix}"
    ours = CONFIGS["micro"].dim == levels[1] and suffix != "-det"
    return "vit-adapter-micro-upernet" if ours else None
