"""Adaptive pools become average pools of a fixed window, or two small constant matrices where
windows are uneven.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.models.layers import GlobalPool, cat, size_of
from edgevit.models.topformer import PyramidPool

AdaptivePool = PyramidPool | GlobalPool | nn.AdaptiveAvgPool2d


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


class FixedPyramidPool(nn.Module):
    """PyramidPool for one input size: a pool a map."""

    def __init__(self, pools: list[nn.Module]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four [B, C_i, H_i, W_i] -> [B, sum C_i, h, w]."""
        return cat([pool(x) for pool, x in zip(self.pools, maps, strict=True)])


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
    for name, module, shapes in _observed(model, example):
        if isinstance(module, GlobalPool):
            model.set_submodule(name, nn.Sequential(WindowPool(shapes[0]), nn.Flatten()))
            continue
        if isinstance(module, nn.AdaptiveAvgPool2d):
            grid = _grid(module.output_size, shapes[0])
            model.set_submodule(name, fixed_pool(shapes[0], grid, example.dtype))
            continue
        height, width = shapes[-1]
        grid = ((height - 1) // module.stride + 1, (width - 1) // module.stride + 1)
        pools = [fixed_pool(size, grid, example.dtype) for size in shapes]
        model.set_submodule(name, FixedPyramidPool(pools))
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


def _observed(
    model: nn.Module, example: Tensor
) -> list[tuple[str, AdaptivePool, list[tuple[int, int]]]]:
    """Each adaptive pool with its name and the map sizes it meets at the example's size."""
    pools = {n: m for n, m in model.named_modules() if isinstance(m, AdaptivePool)}
    if not pools:
        return []
    seen: dict[str, list[tuple[int, int]]] = {}
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
    return [(name, pools[name], shapes) for name, shapes in seen.items()]
