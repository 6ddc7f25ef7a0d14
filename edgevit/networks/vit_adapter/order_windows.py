"""Windowed attention on tokens in the order of windows, without the zeros that fill the last."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevit.networks.parts.transformer import Attend, Attention
from edgevit.networks.vit_adapter.deformable import Grid
from edgevit.networks.vit_adapter.network import Backbone, Block, WindowAttend


@dataclass(frozen=True, slots=True)
class Group:
    """Windows of one size: where they lie in the grid, and how many there are each way."""

    row: int
    column: int
    down: int
    across: int
    height: int  # tokens of one window
    width: int

    @property
    def tokens(self) -> int:
        """Of all windows together."""
        return self.down * self.across * self.height * self.width


def groups_of(grid: Grid, window: int) -> tuple[Group, ...]:
    """Whole windows, those cut by the right border, by the bottom, and by both; empty ones left
    out.
    """
    (down, bottom), (across, right) = (divmod(side, window) for side in grid)
    row, column = down * window, across * window
    groups = (
        Group(0, 0, down, across, window, window),
        Group(0, column, down, 1, window, right),
        Group(row, 0, 1, across, bottom, window),
        Group(row, column, 1, 1, bottom, right),
    )
    return tuple(group for group in groups if group.tokens)


class ToWindows(nn.Module):
    """Tokens from the order of rows to that of windows, group after group."""

    def __init__(self, grid: Grid, groups: tuple[Group, ...]) -> None:
        super().__init__()
        self.grid, self.groups = grid, groups

    def forward(self, x: Tensor) -> Tensor:
        """[1, N, C] -> the same tokens."""
        width = x.shape[-1]
        x = x.reshape(*self.grid, width)
        parts = []
        for g in self.groups:
            rows, columns = g.row + g.down * g.height, g.column + g.across * g.width
            part = x[g.row : rows, g.column : columns]
            if g.across > 1:
                part = part.reshape(g.down, g.height, g.across, g.width * width).transpose(1, 2)
            parts.append(part.reshape(1, -1, width))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class FromWindows(ToWindows):
    """The way back."""

    def forward(self, x: Tensor) -> Tensor:
        """[1, N, C] -> the same tokens."""
        width, start, bands = x.shape[-1], 0, dict[int, list[Tensor]]()
        for g in self.groups:
            part = x[:, start : start + g.tokens]
            start += g.tokens
            if g.across > 1:
                part = part.reshape(g.down, g.across, g.height, g.width * width).transpose(1, 2)
            part = part.reshape(g.down * g.height, g.across * g.width, width)
            bands.setdefault(g.row, []).append(part)
        rows = [torch.cat(band, dim=1) if len(band) > 1 else band[0] for band in bands.values()]
        return (torch.cat(rows) if len(rows) > 1 else rows[0]).reshape(1, -1, width)


class FilledAttend(nn.Module):
    """Attention within windows that `filled` keys of zeros belong to, without laying them out."""

    score: Tensor

    def __init__(self, heads: int, score: Tensor) -> None:
        super().__init__()
        self.heads = heads
        self.register_buffer("score", score)  # [windows * heads, n, 1]

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three [windows, n, C] -> the same shape."""
        windows, tokens, width = q.shape
        q, k, v = (
            part.reshape(windows, tokens, self.heads, -1)
            .transpose(1, 2)
            .reshape(windows * self.heads, tokens, -1)
            for part in (q, k, v)
        )
        scores = torch.cat([torch.bmm(q, k.transpose(1, 2)), self.score], dim=-1)
        mixed = torch.bmm(scores.softmax(dim=-1)[..., :tokens], v)
        mixed = mixed.reshape(windows, self.heads, tokens, -1).transpose(1, 2)
        return mixed.reshape(windows, tokens, width)


class GroupedAttend(nn.Module):
    """Attention within windows on tokens in their order."""

    def __init__(self, attend: WindowAttend, groups: tuple[Group, ...], like: Tensor) -> None:
        super().__init__()
        self.groups = groups
        self.attends = nn.ModuleList()
        for g in groups:
            tokens = g.height * g.width
            filled = attend.window**2 - tokens
            if not filled:
                self.attends.append(Attend(attend.heads, 1.0))
                continue
            shape = (g.down * g.across * attend.heads, tokens, 1)
            self.attends.append(FilledAttend(attend.heads, like.new_full(shape, math.log(filled))))

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three [1, N, C] -> the same shape."""
        width, start, parts = q.shape[-1], 0, []
        for group, attend in zip(self.groups, self.attends, strict=True):
            end, tokens = start + group.tokens, group.height * group.width
            mixed = attend(*(x[:, start:end].reshape(-1, tokens, width) for x in (q, k, v)))
            parts.append(mixed.reshape(1, -1, width))
            start = end
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def order_windows(model: nn.Module, example: Tensor) -> nn.Module:
    """Put tokens in the order of windows around the blocks that attend within them, and leave the
    filling out.

    Every other part of a block treats tokens one by one, and attention over all of them does not
    ask for their order, so one permutation P before the first windowed block of an interaction and
    one behind the last serve all: block(P x) = P block(x).
    A window of n tokens filled with z keys of zeros, whose score q . 0 is 0 and whose value is 0:
        sum_j exp(s_j) v_j / (sum_j exp(s_j) + z) = softmax([s_1 .. s_n, log z])_j v_j,
    one more score instead of z keys. Filled queries are thrown away. Windows of one size are a
    batch: whole ones, those cut at the right, at the bottom, at both. The scale of the scores goes
    into the projection of q. Batches of one. Needs: q, k and v in one projection. Leaves: plain
    `Attend` of scale one for whole windows.
    """
    if example.shape[0] != 1:
        return model
    for backbone in (module for module in model.modules() if isinstance(module, Backbone)):
        size = backbone.config.depth // backbone.config.interactions
        for first in range(0, backbone.config.depth, size):
            _order(backbone, range(first, first + size))
    return model


def _order(backbone: Backbone, indices: range) -> None:
    windowed = {}
    for index in indices:
        block = backbone.blocks[index]
        if isinstance(block, Block) and isinstance(block.attn.attend, WindowAttend):
            windowed[index] = block
    if not windowed:
        return
    grid, window = backbone.config.tokens, backbone.config.window
    groups = groups_of(grid, window)
    for block in windowed.values():
        _group(block.attn, groups)
    if all(group.across == 1 and group.width == grid[1] for group in groups):
        return  # windows as wide as the grid lie in the order of rows already
    first, last = min(windowed), max(windowed)
    backbone.blocks[first] = nn.Sequential(ToWindows(grid, groups), backbone.blocks[first])
    backbone.blocks[last] = nn.Sequential(backbone.blocks[last], FromWindows(grid, groups))


@torch.no_grad()
def _group(attention: Attention, groups: tuple[Group, ...]) -> None:
    attend, queries = attention.attend, attention.proj.in_features
    assert isinstance(attend, WindowAttend)
    attention.qkv.weight[:queries].mul_(attend.scale)
    if attention.qkv.bias is not None:
        attention.qkv.bias[:queries].mul_(attend.scale)
    attention.set_submodule("attend", GroupedAttend(attend, groups, attention.qkv.weight))
