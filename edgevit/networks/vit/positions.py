"""Position tables brought to another grid of patches, by each source's own rule."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevit.errors import CheckpointError

Rule = Literal["timm", "google", "deit"]
RULES: tuple[str, ...] = get_args(Rule)
Grid = tuple[int, int]


def resize_table(
    table: Tensor, prefix: int, grid: Grid, rule: Rule, stored: Grid | None = None
) -> Tensor:
    """A table [1, prefix + h * w, D] for `grid`, its prefix rows (class, distillation) as they are.

    stored: the grid that the file's rows stand for. Without it rows that make a square are a
    square, as in every published file, and others are `grid` itself. Raises `CheckpointError` where
    they are neither. A table that is none by its rank or dtype comes back as it is, for the strict
    loader to name.
    """
    if table.ndim != 3 or table.shape[0] != 1 or not table.is_floating_point():
        return table
    rows = table.shape[1] - prefix
    if rows < 1 or not table.shape[2]:
        return table
    held = stored or _grid_of(rows, prefix, grid)
    if math.prod(held) != rows:
        raise CheckpointError(
            f"The checkpoint's position table has {rows} rows for patches,"
            f" not {held[0]}x{held[1]}.",
            next="leave the option table out, or give the grid that the network was trained with",
        )
    if held == grid:
        return table
    first, patches = table[:, :prefix], table[0, prefix:].reshape(*held, -1)
    match rule:
        case "timm":
            resized = _bicubic(patches, grid, antialias=True)
        case "deit":
            resized = _bicubic(patches, grid, antialias=False)
        case "google":
            resized = _zoom(patches, grid)
    return torch.cat([first, resized.reshape(1, math.prod(grid), -1).to(table.dtype)], dim=1)


def _grid_of(rows: int, prefix: int, grid: Grid) -> Grid:
    side = math.isqrt(rows)
    if side * side == rows:
        return side, side
    if math.prod(grid) == rows:
        return grid
    if prefix and math.isqrt(rows + prefix) ** 2 == rows + prefix:
        raise CheckpointError(
            f"The checkpoint's position table has {rows + prefix} rows, all of them for patches and"
            " none for the class token: another network's, such as DeiT III's or DINOv2's with"
            " registers.",
            next="edgevit list",
        )
    raise CheckpointError(
        f"The checkpoint's position table has {rows} rows beside {prefix} for class tokens,"
        f" which make no square and not the input's {grid[0]}x{grid[1]} patches; give the grid of"
        " patches.",
        next="--option table=14x28 (rows x columns), or create_model(..., table='14x28')",
    )


def _bicubic(patches: Tensor, grid: Grid, *, antialias: bool) -> Tensor:
    """[h, w, D] -> [*grid, D], half-pixel centers, in float32 as the sources do.

    timm (timm/layers/pos_embed.py, `resample_abs_pos_embed`) antialiases, which also takes PIL's
    cubic (a = -0.5); DeiT (main.py), MAE (util/pos_embed.py) and transformers do not (a = -0.75).
    """
    planes = patches.float().permute(2, 0, 1)[None]
    resized = F.interpolate(
        planes, size=grid, mode="bicubic", align_corners=False, antialias=antialias
    )
    return resized[0].permute(1, 2, 0)


def _zoom(patches: Tensor, grid: Grid) -> Tensor:
    """[h, w, D] -> [*grid, D]: scipy.ndimage.zoom of order 1, which is bilinear between corners.

    Source: google-research/vision_transformer, vit_jax/checkpoint.py, `load_pretrained`. Where
    rounding puts the last sample behind the last row (28 to 24, say), scipy reads its constant 0,
    and so did whoever measured the reference: it stays so.
    """
    values = patches.double()
    for axis, size in enumerate(grid):
        last = values.shape[axis] - 1
        step = last / (size - 1) if size > 1 else 1.0
        at = torch.arange(size, dtype=torch.float64) * step
        low = at.floor().clamp(max=last)
        shape = [-1 if dim == axis else 1 for dim in range(3)]
        share = (at - low).reshape(shape)
        near = values.index_select(axis, low.long())
        far = values.index_select(axis, (low.long() + 1).clamp(max=last))
        inside = (at <= last).double().reshape(shape)
        values = (near * (1 - share) + far * share) * inside
    return values
