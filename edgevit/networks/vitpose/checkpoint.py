"""ViTPose's checkpoints: mmpose files of one or several data sets, transformers', MAE backbones.

Source: official tools/model_split.py (ViTPose+ to one data set), mmcv_custom/checkpoint.py
(pre-trained backbones, position tables); transformers, models/vitpose/convert_vitpose_to_hf.py.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.vitpose.checkpoint_huggingface import from_hugging_face, is_hugging_face
from edgevit.networks.vitpose.network import CONFIGS, PATCH, Config
from edgevit.networks.vitpose.positions import trained_size, with_positions

PREFER = ("state_dict", "model", "module")
OPTIONS = ("dataset", "trained_size")

# Data sets in the order of ViTPose+'s experts, with their keypoints (official
# configs/wholebody/.../vitPose+_*.py). The first has `keypoint_head`, the others
# `associate_keypoint_heads.0` and so on.
DATASETS: Mapping[str, int] = MappingProxyType(
    {"coco": 17, "aic": 14, "mpii": 16, "ap10k": 17, "apt36k": 17, "wholebody": 133}
)

# Heads of further data sets, and the class token, which the network never reads.
LEFTOVERS = ("associate_keypoint_heads.", "associate_heads", "backbone.cls_token")
EXPERT = re.compile(r"^backbone\.blocks\.\d+\.mlp\.experts\.\d+\.(weight|bias)$")
FC2 = re.compile(r"^(backbone\.blocks\.\d+\.mlp)\.fc2\.(weight|bias)$")
# What MAE and fine-tuned classifiers hold beside the backbone. Their last norm is not taken over
# either: the official code starts its own.
PRETRAINING = ("cls_token", "mask_token", "decoder_", "norm.", "fc_norm.", "head.")

# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
MAX_KEYPOINTS, MAX_WIDTH = 4096, 2048


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The card's configuration for an input of (height, width); raises `UsageError`.

    options: `dataset` of ViTPose+, one of `DATASETS`, "coco" if not given; `trained_size`, height
    and width in pixels of the input that the checkpoint's position table was trained at, as two
    numbers or "256x192": needed only where the number of its rows tells it wrongly (see `adapt`).
    """
    size = (int(input_size[0]), int(input_size[1]))
    config = replace(CONFIGS[card.variant], input_size=size)
    for name in options:
        if name not in OPTIONS:
            raise UsageError(
                f"ViTPose has no option {name!r}; it has {' and '.join(OPTIONS)}.",
                next=f"edgevit info {card.name}",
            )
    trained_size(options)
    if "dataset" in options:
        count = DATASETS[_dataset(card, options)]
        if num_classes is not None and num_classes != count:
            raise UsageError(
                f"dataset={options['dataset']} has {count} keypoints, not {num_classes}.",
                next=f"edgevit info {card.name}",
            )
        config = replace(config, num_classes=count)
    return replace(config, num_classes=num_classes) if num_classes else config


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
) -> Adapted[Config]:
    """Bring a state dict to the card's network at `config.input_size`.

    Keypoints and the width of the decoder are taken from the shapes. ViTPose+ files are folded to
    one data set, `W' = cat(W_shared, W_expert)`. A position table with as many rows as the network
    has tokens stays as it is, as in the official code and in transformers. One of another 12 m^2
    rows stands for the official 4:3 input (16x12 tokens of 256x192), of k^2 rows for a square one,
    and is resized bicubically; `trained_size` says otherwise. Raises `CheckpointError`.
    """
    if is_hugging_face(tensors):
        named = from_hugging_face(tensors)
        several = False
    elif (bare := _bare_backbone(tensors)) is not None:
        return _backbone_init(bare, config, options)
    else:
        named = dict(tensors)
        several = any(key.startswith("associate_keypoint_heads.") for key in named)
    if card.variant.startswith("plus-"):
        named = _one_dataset(named, _dataset(card, options), several)
    named = _without_leftovers(named)
    config = _infer(named, config)
    if "dataset" in options and config.num_classes != DATASETS[_dataset(card, options)]:
        raise CheckpointError(
            f"The checkpoint's head has {config.num_classes} keypoints, which is not"
            f" dataset={options['dataset']} with {DATASETS[_dataset(card, options)]}.",
            next=f"edgevit info {card.name}",
        )
    return Adapted(config, with_positions(named, config, options))


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by width, decoder and experts."""
    for stem, head, deconv in (
        ("backbone.patch_embed.proj.", "keypoint_head.final_layer.weight", "keypoint_head.deconv_"),
        ("backbone.embeddings.patch_embeddings.projection.", "head.conv.weight", "head.deconv"),
    ):
        width = shapes.get(f"{stem}weight", ())[:1]
        if head not in shapes or not width:
            continue
        classic = any(key.startswith(deconv) for key in shapes)
        split = any(
            key.endswith(".mlp.fc2.weight") and shape[:1] < width for key, shape in shapes.items()
        )
        for variant, config in CONFIGS.items():
            plus = variant.startswith("plus-")
            same = config.dim == width[0] and (config.decoder == "classic") == classic
            if same and plus == split:
                return f"vitpose-{variant}"
    return None


def _dataset(card: ModelCard, options: Mapping[str, object]) -> str:
    value = options.get("dataset", "coco")
    if not card.variant.startswith("plus-"):
        raise UsageError(
            f"{card.name} has only one data set; dataset= is for vitpose-plus-*.",
            next="edgevit list vitpose-plus",
        )
    if not isinstance(value, str) or value not in DATASETS:
        raise UsageError(
            f"dataset={value!r} is not one of {', '.join(DATASETS)}.",
            next=f"edgevit info {card.name}",
        )
    return value


def _bare_backbone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of a backbone without a prefix, or under `encoder.`; None where there is none."""
    for prefix in ("", "encoder."):
        if f"{prefix}patch_embed.proj.weight" in tensors:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return None


def _backbone_init(
    tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]
) -> Adapted[Config]:
    """A pre-trained backbone as mmcv_custom/checkpoint.py takes it over.

    A patch kernel below 16x16 (MAE's huge: 14x14) is padded with zeros, left before right. A table
    of k^2 rows is that of a square picture, also where the network has as many tokens.
    """
    kept = {f"backbone.{k}": v for k, v in tensors.items() if not k.startswith(PRETRAINING)}
    kernel = kept["backbone.patch_embed.proj.weight"]
    fits = kernel.ndim == 4 and kernel.shape[:2] == (config.dim, 3)
    if fits and min(kernel.shape[2:]) >= 1 and max(kernel.shape[2:]) <= PATCH:
        spare = PATCH - kernel.shape[2], PATCH - kernel.shape[3]
        before = spare[0] // 2, spare[1] // 2
        padding = (before[1], spare[1] - before[1], before[0], spare[0] - before[0])
        kept["backbone.patch_embed.proj.weight"] = F.pad(kernel, padding)
    untrained: tuple[str, ...] = ("keypoint_head",)
    if "backbone.last_norm.weight" not in kept:
        untrained = ("backbone.last_norm", "keypoint_head")
    return Adapted(config, with_positions(kept, config, options, pretrained=True), untrained)


def _one_dataset(tensors: dict[str, Tensor], dataset: str, several: bool) -> dict[str, Tensor]:
    """ViTPose+ with the expert and the head of one data set, the others left behind."""
    index = list(DATASETS).index(dataset)
    if _is_folded(tensors):
        if several and index:
            raise CheckpointError(
                f"The checkpoint already contains only coco, not {dataset}: give the file with all"
                " experts, or the one for this data set.",
                next="--option dataset=coco",
            )
        return tensors
    if index and not several:
        raise CheckpointError(
            f"The checkpoint has only the head for coco, and none for {dataset}; the"
            " official .pth file has all.",
            next="--option dataset=coco",
        )
    folded = {key: value for key, value in tensors.items() if not EXPERT.match(key)}
    for key, shared in tensors.items():
        found = FC2.match(key)
        if found is None:
            continue
        expert = tensors.get(f"{found[1]}.experts.{index}.{found[2]}")
        if expert is None:
            raise CheckpointError(
                f"The checkpoint has {key}, but no expert {index} ({dataset}) for it.",
                next="edgevit list vitpose",
            )
        if expert.ndim != shared.ndim or expert.shape[1:] != shared.shape[1:] or not shared.ndim:
            raise CheckpointError(
                f"The checkpoint's expert {index} does not fit {key}: {tuple(expert.shape)} beside"
                f" {tuple(shared.shape)}.",
                next="edgevit list vitpose",
            )
        folded[key] = torch.cat((shared, expert))
    return _with_head(folded, index, DATASETS[dataset]) if index else folded


def _is_folded(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the second layer of the first block has all its outputs, as many as the first has
    inputs.
    """
    first, second = (tensors.get(f"backbone.blocks.0.mlp.{fc}.weight") for fc in ("fc1", "fc2"))
    if first is None or second is None or first.ndim != 2 or second.ndim != 2:
        return True  # nothing to fold; what is wrong is named when it is loaded
    return second.shape[0] == first.shape[1] or not any(EXPERT.match(key) for key in tensors)


def _with_head(tensors: dict[str, Tensor], index: int, count: int) -> dict[str, Tensor]:
    """The head of a further data set in place of the first one's.

    As in tools/model_split.py, keypoints beyond the data set's own are cut off.
    """
    prefix = f"associate_keypoint_heads.{index - 1}."
    kept = {k: v for k, v in tensors.items() if not k.startswith("keypoint_head.")}
    for key, value in tensors.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            final = name.startswith("final_layer.") and value.ndim
            kept[f"keypoint_head.{name}"] = value[:count] if final else value
    return kept


def _without_leftovers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what a network of one data set never reads: further heads, the class token, and experts
    that model_split.py forgot in files it had folded.
    """
    drop_experts = _is_folded(tensors)
    return {
        key: value
        for key, value in tensors.items()
        if not key.startswith(LEFTOVERS) and not (drop_experts and EXPERT.match(key))
    }


def _infer(tensors: Mapping[str, Tensor], config: Config) -> Config:
    """Keypoints and the decoder's width, as far as shapes tell them; raises `CheckpointError`."""
    final = tensors.get("keypoint_head.final_layer.weight")
    if final is not None and final.ndim == 4:
        if not 1 <= final.shape[0] <= MAX_KEYPOINTS:
            raise CheckpointError(
                f"The checkpoint's head has {final.shape[0]} keypoints; no ViTPose has that.",
                next="edgevit list vitpose",
            )
        config = replace(config, num_classes=final.shape[0])
    deconv = tensors.get("keypoint_head.deconv_layers.0.weight")
    if deconv is not None and deconv.ndim == 4:
        if not 1 <= deconv.shape[1] <= MAX_WIDTH:
            raise CheckpointError(
                f"The checkpoint's decoder is {deconv.shape[1]} wide; no ViTPose has that.",
                next="edgevit list vitpose",
            )
        config = replace(config, deconv_channels=deconv.shape[1])
    return config
