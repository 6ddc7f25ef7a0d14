"""T2T-ViT's checkpoints: official release files, training checkpoints and CIFAR transfer files.

Source: official main.py and utils.py (`state_dict_ema` first, `module.` stripped,
`resize_pos_embed`), transfer_learning.py (`net`). All carry the same names inside.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.adapted import Adapted
from edgevit.networks.card import ModelCard
from edgevit.networks.t2t_vit.network import CONFIGS, STRIDE, Config, sinusoid_table

TRANSFER = "net"  # where transfer_learning.py, which tunes to CIFAR-10 and CIFAR-100, puts them
PREFER: tuple[str, ...] = ("state_dict_ema", "state_dict", TRANSFER, "model")

# What a position table of another size becomes: `bicubic` is the official loader's way,
# `sinusoid` computes the table anew, as the official 384-pixel network was trained.
POSITIONS = ("bicubic", "sinusoid")
OPTIONS: tuple[str, ...] = ("positions",)

# The second head that TokenLabeling trains on every token; inference reads the class token alone.
AUXILIARY = "aux_head."

# Of what shapes may tell: a few bytes must not make us build a network of gigabytes.
CLASSES = range(1, 65_537)
TOKEN_DIMS = range(2, 513)


def configure(
    card: ModelCard,
    input_size: tuple[int, ...],
    num_classes: int | None,
    options: Mapping[str, object],
) -> Config:
    """The variant's configuration for this input; raises `UsageError`."""
    _positions(card, options)
    side = max(input_size)
    near = max(side // STRIDE, 1) * STRIDE
    if input_size != (side, side):
        raise UsageError(
            f"{card.name} takes square inputs only, not {'x'.join(map(str, input_size))}.",
            next=f"--input-size {near} {near}",
        )
    if side != near:
        raise UsageError(
            f"{card.name} takes sides of a multiple of {STRIDE} pixels, not {side}.",
            next=f"--input-size {near} {near}",
        )
    config = replace(CONFIGS[card.variant], grid=side // STRIDE)
    return replace(config, num_classes=num_classes) if num_classes else config


def _positions(card: ModelCard, options: Mapping[str, object]) -> str:
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(
                f"T2T-ViT has no option {name!r}; it has {' and '.join(OPTIONS)}.",
                next=f"edgevit info {card.name}",
            )
        if value not in POSITIONS:
            raise UsageError(f"{name}={value!r} is not one of {', '.join(POSITIONS)}.")
    return str(options.get("positions", POSITIONS[0]))


def adapt(
    tensors: Mapping[str, Tensor],
    card: ModelCard,
    config: Config,
    options: Mapping[str, object],
    *,
    container: str = "",
) -> Adapted[Config]:
    """Bring a state dict to the network: classes and token width as its shapes tell them, the
    position table at the configured size, the preprocessing of transfer files.

    container: where the tensors lay in the file, as `Checkpoint.container`. Raises `UsageError` on
    options and `CheckpointError` on widths that no T2T-ViT has. Keys that are no network's stay,
    for `load_strict` to name.
    """
    rule = _positions(card, options)
    kept = {key: value for key, value in tensors.items() if not key.startswith(AUXILIARY)}
    config = _infer(kept, config)
    table = kept.get("pos_embed")
    if table is not None:
        kept["pos_embed"] = resize_positions(table, config.grid, rule)
    transferred = container.partition(".")[0] == TRANSFER
    return Adapted(config, kept, preparation="t2t-cifar" if transferred else None)


def _infer(tensors: Mapping[str, Tensor], config: Config) -> Config:
    head = tensors.get("head.weight")
    if head is not None and head.ndim == 2:
        config = replace(config, num_classes=_within(CLASSES, head, "head.weight"))
    key = "tokens_to_token.attention1.proj.weight"
    proj = tensors.get(key)
    if proj is not None and proj.ndim == 2:
        config = replace(config, token_dim=_within(TOKEN_DIMS, proj, key))
    return config


def _within(allowed: range, weight: Tensor, key: str) -> int:
    """The outputs of a layer; raises `CheckpointError`."""
    width = weight.shape[0]
    if width not in allowed:
        raise CheckpointError(
            f"The checkpoint's {key} has {width} outputs; no T2T-ViT has that.",
            next="edgevit list",
        )
    return width


def resize_positions(table: Tensor, grid: int, rule: str) -> Tensor:
    """The stored table [1, N + 1, D] for grid * grid tokens; as it is where it has that size, or
    where it is no table of a square grid, for `load_strict` to name.

    Source: official utils.py, `resize_pos_embed`: the class token's row stays, the others are
    resized as a map, bicubic with half-pixel centers and no antialiasing.
    """
    if table.ndim != 3 or table.shape[0] != 1 or table.shape[1] == grid**2 + 1:
        return table
    _, rows, dim = table.shape
    side = math.isqrt(max(rows - 1, 0))
    if not (side and dim and side**2 == rows - 1 and table.is_floating_point()):
        return table
    if rule == "sinusoid":
        return sinusoid_table(grid**2 + 1, dim)
    table = table.float()
    image = table[:, 1:].reshape(1, side, side, dim).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=(grid, grid), mode="bicubic")
    return torch.cat([table[:, :1], image.flatten(2).transpose(1, 2)], dim=1)


def recognize(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """The model whose checkpoint has these shapes, or None, by its token attention, its width,
    its depth and the keys of its structure.

    t2t-vit-14-resnext differs from t2t-vit-14 in its heads alone, which no shape tells.
    """
    found = (
        _tokens(shapes),
        _structure(shapes),
        (shapes.get("cls_token") or (0,))[-1],
        sum(key.startswith("blocks.") and key.endswith(".norm1.weight") for key in shapes),
    )
    for variant, config in CONFIGS.items():
        if found == (config.tokens, config.structure, config.dim, config.depth):
            return f"t2t-vit-{variant}"
    return None


def _tokens(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    if "tokens_to_token.attention1.kqv.weight" in shapes:
        return "performer"
    return "transformer" if "tokens_to_token.attention1.attn.qkv.weight" in shapes else None


def _structure(shapes: Mapping[str, tuple[int, ...]]) -> str:
    for key, structure in (
        ("blocks.0.attn.se_layer.fc.0.weight", "se"),
        ("blocks.0.attn.cheap_operation_q.weight", "ghost"),
        ("blocks.0.dense_linear.weight", "dense"),
    ):
        if key in shapes:
            return structure
    return "plain"
