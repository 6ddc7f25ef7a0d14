"""TopFormer's checkpoints: official segmentation files, ImageNet backbone files, pre-release names.

Source: official tools/convert_state_dict.py (pre-release names); mmseg checkpoints carry
`backbone.` and `decode_head.`, the ImageNet files carry neither and hold `state_dict_ema` beside
`state_dict`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.topformer.network import (
    CONFIGS,
    INJECTIONS,
    TOKEN_STRIDES,
    Config,
    Injection,
    config_of,
)

PREFER = ("state_dict_ema", "state_dict", "model")

PRE_RELEASE = (
    ("patch_embed.", "tpm."),
    ("fuse_blocks.", "SIM."),
    ("to_feat1.", "local_embedding."),
    ("to_feat2.", "global_embedding."),
)
# Before the release `fuse2` was the gate of the multiply-sum injection; in the released `fuse_*`
# types it is something else,
# so it is renamed only beside the other pre-release names.
PRE_RELEASE_GATE = ("fuse2.", "global_act.")

OPTIONS = ("injection", "token_stride")

# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
MAX_CLASSES, MAX_WIDTH = 65_536, 2048


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The card's configuration with the caller's options, at any size; raises `UsageError`."""
    config = config_of(card)
    for name, value in options.items():
        if name == "injection" and card.task == "classification":
            raise UsageError(
                f"{card.name} has no injection: its head reads the tokens directly.",
                next=f"edgevit info {card.name}",
            )
        if name == "injection" and value in INJECTIONS:
            config = replace(config, injection=cast("Injection", value))
        elif name == "token_stride" and value in TOKEN_STRIDES:
            config = replace(config, token_stride=value)
        elif name in OPTIONS:
            allowed = INJECTIONS if name == "injection" else TOKEN_STRIDES
            raise UsageError(f"{name}={value!r} is not one of {', '.join(map(str, allowed))}.")
        else:
            raise UsageError(
                f"TopFormer has no option {name!r}; it has {' and '.join(OPTIONS)}.",
                next=f"edgevit info {card.name}",
            )
    return replace(config, num_classes=num_classes) if num_classes else config


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pre-release names to released ones; others stay."""
    pre_release = any(".to_feat1." in key for key in tensors)
    pairs = (*PRE_RELEASE, PRE_RELEASE_GATE) if pre_release else PRE_RELEASE
    renamed = {}
    for key, value in tensors.items():
        parts = f".{key}"
        for old, new in pairs:
            parts = parts.replace(f".{old}", f".{new}")
        renamed[parts[1:]] = value
    return renamed


def is_imagenet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether these are an ImageNet file's keys: no prefix, no injection modules."""
    return any(k.startswith("tpm.") for k in tensors) and not any(
        k.startswith("SIM.") for k in tensors
    )


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
) -> Adapted[Config]:
    """Bring a state dict to the card's network; what its shapes tell overrides the variant's
    defaults.
    """
    tensors = rename(tensors)
    match card.task:
        case "classification":
            return _classifier(tensors, config)
        case "features":
            return _features(tensors, config, options)
        case _:
            return _segmentation(tensors, config, options)


def _classifier(tensors: Mapping[str, Tensor], config: Config) -> Adapted[Config]:
    head = _widths(tensors, "head.l.weight", 2)
    if head is not None:
        config = replace(config, num_classes=head[0])
    return Adapted(config, tensors)


def _features(
    tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]
) -> Adapted[Config]:
    if is_imagenet(tensors):
        return _backbone_init(tensors, config, ("backbone.SIM",))
    if not any(key.startswith("backbone.") for key in tensors):
        tensors = {f"backbone.{key}": value for key, value in tensors.items()}
    kept = {
        k: v for k, v in tensors.items() if not k.startswith(("decode_head.", "auxiliary_head."))
    }
    return Adapted(_infer(kept, config, options), kept)


def _segmentation(
    tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]
) -> Adapted[Config]:
    if is_imagenet(tensors):
        return _backbone_init(tensors, config, ("backbone.SIM", "decode_head"))
    config = _infer(tensors, config, options)
    if config.depthwise_fuse and config.head_channels != config.decode_channels:
        raise CheckpointError(
            f"The checkpoint's head is depthwise over {config.head_channels} channels, but its"
            f" injections give {config.decode_channels}.",
            next="edgevit list",
        )
    return Adapted(config, tensors)


def _backbone_init(
    tensors: Mapping[str, Tensor], config: Config, untrained: tuple[str, ...]
) -> Adapted[Config]:
    # Only the ImageNet head is left behind; any other stray key stays and is named as unexpected.
    kept = {f"backbone.{k}": v for k, v in tensors.items() if not k.startswith("head.")}
    return Adapted(config, kept, untrained)


def _infer(tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]) -> Config:
    """Classes, widths, depthwise fuse and injection type, as far as keys and shapes tell them."""
    classifier = _widths(tensors, "decode_head.conv_seg.weight", 4)
    if classifier is not None:
        config = replace(config, num_classes=classifier[0], head_channels=classifier[1])
    fuse = _widths(tensors, "decode_head.linear_fuse.conv.weight", 4)
    if fuse is not None:
        config = replace(config, depthwise_fuse=fuse[1] == 1)
    for key in ("local_embedding", "fuse1"):
        injected = _widths(tensors, f"backbone.SIM.1.{key}.conv.weight", 4)
        if injected is not None:
            config = replace(config, decode_channels=injected[0])
    return replace(config, injection=_infer_injection(tensors, config, options))


def _widths(tensors: Mapping[str, Tensor], key: str, rank: int) -> tuple[int, int] | None:
    """Outputs and inputs of a layer; None where the file has none of this rank.

    Raises `CheckpointError` on widths that would cost more to build than a file can mean.
    """
    tensor = tensors.get(key)
    if tensor is None or tensor.ndim != rank:
        return None
    outputs, inputs = tensor.shape[:2]
    most = MAX_CLASSES if key.endswith(("conv_seg.weight", "head.l.weight")) else MAX_WIDTH
    if not (1 <= outputs <= most and 1 <= inputs <= MAX_WIDTH):
        raise CheckpointError(
            f"The checkpoint's {key} has {outputs} outputs and {inputs} inputs; no"
            " TopFormer has that.",
            next="edgevit list",
        )
    return outputs, inputs


def _infer_injection(
    tensors: Mapping[str, Tensor], config: Config, options: Mapping[str, object]
) -> Injection:
    stem = "backbone.SIM.1."
    if f"{stem}global_act.bn.weight" in tensors:
        found: Injection = "muli_sum"
    elif f"{stem}global_act.conv.bias" in tensors:
        found = "muli_sum_cbr"
    elif f"{stem}fuse1.conv.weight" in tensors:
        if config.injection not in ("fuse_sum", "fuse_multi"):
            raise CheckpointError(
                "This checkpoint's injection is fuse_sum or fuse_multi, which have the same keys;"
                " give one.",
                next="--option injection=fuse_sum, or create_model(..., injection='fuse_sum')",
            )
        found = config.injection
    else:
        return config.injection
    if "injection" in options and options["injection"] != found:
        raise CheckpointError(
            f"The checkpoint holds injection {found}, not {options['injection']}.",
            next=f"--option injection={found}",
        )
    return found


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by the width of the first pyramid
    stage.
    """
    for prefix in ("backbone.tpm.", "tpm.", "backbone.patch_embed.", "patch_embed."):
        shape = shapes.get(f"{prefix}layer2.conv.4.c.weight")
        if not shape:
            continue
        for variant, config in CONFIGS.items():
            if shape[0] == config.channels[0]:
                return f"topformer-{variant}{'-cls' if 'head.l.weight' in shapes else ''}"
    return None
