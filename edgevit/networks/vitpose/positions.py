"""ViTPose's position tables: the grid that a stored one stands for, and its resize to another."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.vitpose.network import PATCH, Config


def with_positions(
    tensors: dict[str, Tensor],
    config: Config,
    options: Mapping[str, object],
    pretrained: bool = False,
) -> dict[str, Tensor]:
    """The same with the position table at the network's grid; `pretrained`: see `stored_grid`."""
    table = tensors.get("backbone.pos_embed")
    if table is None or table.ndim != 3 or table.shape[0] != 1 or table.shape[1] < 2:
        return tensors  # missing or wrongly shaped: named when it is loaded
    if not table.shape[2] or table.is_complex():
        return tensors  # the same, and nothing to resize
    old = stored_grid(table.shape[1] - 1, config, options, pretrained)
    return {**tensors, "backbone.pos_embed": resize_positions(table, old, config.grid)}


def stored_grid(
    tokens: int, config: Config, options: Mapping[str, object], pretrained: bool = False
) -> tuple[int, int]:
    """The grid of a table with this many tokens; raises `CheckpointError`.

    The official code loads a table of the network's own length as it is, whatever its grid was,
    and so do mmcv and transformers. `pretrained` backbones go another way there
    (mmcv_custom/checkpoint.py), where a table is taken to be square.
    """
    trained = trained_size(options)
    if trained is not None:
        grid = replace(config, input_size=trained).grid
        if grid[0] * grid[1] == tokens:
            return grid
        raise CheckpointError(
            f"The checkpoint has positions of {tokens} tokens, but trained_size="
            f"{trained[0]}x{trained[1]} gives {grid[0]}x{grid[1]}.",
            next="leave trained_size out, or give the size that the checkpoint was trained at",
        )
    side = math.isqrt(tokens)
    if pretrained and side * side == tokens:
        return side, side
    if tokens == config.grid[0] * config.grid[1]:
        return config.grid
    if side * side == tokens:
        return side, side
    unit = math.isqrt(tokens // 12)
    if 12 * unit * unit == tokens:
        return 4 * unit, 3 * unit
    raise CheckpointError(
        f"The checkpoint has positions of {tokens} tokens, which is neither a 4:3 nor a square"
        " grid; give the input size of the training.",
        next="--option trained_size=HEIGHTxWIDTH",
    )


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position table [1, 1 + h * w, D] for another grid; its first row stays as it is.

    Bicubic with `align_corners=False`, as the official mmcv_custom/checkpoint.py resizes the tables
    of pre-trained files.
    """
    if old == new:
        return table
    rows = table[:, 1:].reshape(1, *old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(rows.float(), size=new, mode="bicubic", align_corners=False)
    grid = resized.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
    return torch.cat((table[:, :1], grid), dim=1)


def trained_size(options: Mapping[str, object]) -> tuple[int, int] | None:
    """The option's height and width; raises `UsageError` on anything else than two sides."""
    value = options.get("trained_size")
    if "trained_size" not in options:
        return None
    sides: tuple[object, ...] = ()
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,5}[xX][0-9]{1,5}", value):
        sides = tuple(int(side) for side in value.lower().split("x"))
    elif isinstance(value, tuple | list):
        sides = tuple(value)
    match sides:
        case (int() as height, int() as width) if min(height, width) >= PATCH:
            return height, width
    raise UsageError(
        f"trained_size={value!r} is not a height and width in pixels.",
        next="--option trained_size=256x192",
    )
