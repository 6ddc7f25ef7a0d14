"""Adaptive pools become average pools of a fixed window, or two small constant matrices where
windows are uneven.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.parts.layers import GlobalPool, size_of

Sizes = list[tuple[int, int]]


class WindowPool(nn.Module):
    """Average pool of one fixed window that tiles the map."""

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H / window, W / window]."""
        # XNNPACK takes an average pool only with an explicit stride and without counting padding.
        return F.avg_pool2d(x, self.window, stride=self.window, count_include_pad=False)


class MatrixPool(nn.Module):
    """Y = R X C^T a channel: rows and columns averaged over adaptive pooling's uneven windows."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], grid: tuple[int, int], dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("rows", averaging_matrix(size[0], grid[0], dtype))
        self.register_buffer("columns", averaging_matrix(size[1], grid[1], dtype))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, h, w]."""
        x = F.linear(x, self.columns)
        return F.linear(x.transpose(-1, -2), self.rows).transpose(-1, -2)


def averaging_matrix(size: int, grid: int, dtype: torch.dtype) -> Tensor:
    """[grid, size]; row i averages floor(i * size / grid) to ceil((i + 1) * size / grid), as
    torch's adaptive pool does.
    """
    matrix = torch.zeros(grid, size, dtype=dtype)
    for i in range(grid):
        start, end = i * size // grid, -(-(i + 1) * size // grid)
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def fix_pools(model: nn.Module, example: Tensor) -> nn.Module:
    """Replace adaptive pools by what they are at the example's size.

    Where size = window * grid in both directions every window is the same and y = mean of a tile;
    elsewhere Y = R X C^T with constant averaging matrices. A mean over the whole map is a pool of
    one window.
    """
    whole = {n: m for n, m in model.named_modules() if isinstance(m, GlobalPool)}
    adaptive = {n: m for n, m in model.named_modules() if isinstance(m, nn.AdaptiveAvgPool2d)}
    for name, shapes in map_sizes(model, {**whole, **adaptive}, example).items():
        if name in whole:
            model.set_submodule(name, nn.Sequential(WindowPool(shapes[0]), nn.Flatten()))
        else:
            grid = _grid(adaptive[name].output_size, shapes[0])
            model.set_submodule(name, fixed_pool(shapes[0], grid, example.dtype))
    return model


def fixed_pool(size: tuple[int, int], grid: tuple[int, int], dtype: torch.dtype) -> nn.Module:
    """The cheapest module that pools a map of `size` to `grid` exactly."""
    if size == grid:
        return nn.Identity()
    if size[0] % grid[0] == 0 and size[1] % grid[1] == 0:
        return WindowPool((size[0] // grid[0], size[1] // grid[1]))
    return MatrixPool(size, grid, dtype)


def _grid(
    asked: int | tuple[int | None, int | None] | None, size: tuple[int, int]
) -> tuple[int, int]:
    """What an adaptive pool gives of a map of `size`; `None` keeps a side."""
    height, width = asked if isinstance(asked, tuple) else (asked, asked)
    return height or size[0], width or size[1]


def map_sizes(
    model: nn.Module, pools: Mapping[str, nn.Module], example: Tensor
) -> dict[str, Sizes]:
    """The sizes of the maps that each pool meets at this size, in the order of the forward."""
    if not pools:
        return {}
    seen: dict[str, Sizes] = {}
    hooks = []
    for name, module in pools.items():

        def note(_: nn.Module, inputs: tuple[Tensor | list[Tensor]], name: str = name) -> None:
            maps = inputs[0] if isinstance(inputs[0], list) else [inputs[0]]
            seen[name] = [size_of(x) for x in maps]

        hooks.append(module.register_forward_pre_hook(note))
    with torch.no_grad():
        model(example)
    for hook in hooks:
        hook.remove()
    return seen
