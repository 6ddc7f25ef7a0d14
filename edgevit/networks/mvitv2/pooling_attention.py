"""MViTv2's attention in the shapes that runtimes take: heads as channels while pooling, constant
positions inside the product of queries and keys, 3-D products, an explicit softmax.
"""

from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.mvitv2.network import Attention, Plan, partition, resize_table, unpartition
from edgevit.networks.parts.norm_readers import Reader
from edgevit.networks.passes.shift_conv3d import ShiftedConv


class Pooled(nn.Module):
    """Queries, keys or values: projected, pooled and normed, with the heads as channels."""

    def __init__(
        self, linear: nn.Linear, pool: nn.Conv2d | ShiftedConv, norm: nn.LayerNorm, plan: Plan
    ) -> None:
        super().__init__()
        self.linear, self.pool, self.norm = linear, pool, norm
        self.heads, self.grid = plan.heads, plan.grid

    def patches(self, x: Tensor) -> Tensor:
        """Projected patches [B, tokens, C] -> [B, pooled tokens, heads, d]."""
        batch, _, channels = x.shape
        maps = x.reshape(-1, *self.grid[-2:], channels).permute(0, 3, 1, 2)
        if isinstance(self.pool, ShiftedConv):
            maps = self.pool.on_frames(maps, self.grid[0])
        else:
            maps = self.pool(maps)
        return self._normed(maps.permute(0, 2, 3, 1).reshape(batch, -1, channels))

    def class_token(self, x: Tensor) -> Tensor:
        """A projected class token [B, 1, C] -> [B, 1, heads, d]; it is not pooled."""
        return self._normed(x)

    def _normed(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.reshape(*x.shape[:2], self.heads, -1))
        return out


@dataclass(frozen=True, slots=True)
class Span:
    """Windows side by side on one axis, `side` queries each: from and to which query and key."""

    queries: tuple[int, int]
    keys: tuple[int, int]
    side: int


class PoolingAttention(nn.Module):
    """MViTv2's attention for one grid; see `shape_pooling_attention`."""

    one_hot: Tensor

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.plan = attention.plan
        self.prefix, self.cls_query = attention.prefix, attention.cls_query
        self.class_only = attention.class_only
        self.query_grid, self.key_grid = attention.query_grid, attention.key_grid
        self.q, self.k, self.v = (_pooled(attention, place) for place in range(3))
        self.k.norm = _scaled(self.k.norm, attention.scale)
        self.proj = attention.proj
        if self.class_only:
            return
        for place, axis in enumerate(self.plan.axes):
            self.register_buffer(f"rows_{axis}", _rows(attention, place, axis))
        self.register_buffer("one_hot", self._one_hot(attention.proj.weight))

    def token_readers(self) -> list[Reader]:
        """The three projections."""
        return [self.q.linear, self.k.linear, self.v.linear]

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, inputs] -> [B, pooled tokens, width]; a class token comes first, or alone."""
        k, v = self._whole(self.k, x), self._whole(self.v, x)
        if self.plan.window:
            mixed = self._in_windows(self.q.patches(self.q.linear(x)), k, v)
        else:
            mixed = self._globally(x, _keys_last(k), _heads_first(v))
        out: Tensor = self.proj(mixed)
        return out

    def _whole(self, part: Pooled, x: Tensor) -> Tensor:
        """All keys or values, the class token's first: [B, tokens, heads, d]."""
        x = part.linear(x)
        if not self.prefix:
            return part.patches(x)
        return torch.cat((part.class_token(x[:, :1]), part.patches(x[:, 1:])), dim=1)

    def _globally(self, x: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keys [G, d, keys] and values [G, keys, d], G = B heads -> [B, pooled tokens, width]."""
        if self.class_only:
            return self._class_token(self.q.linear(x[:, :1]), k, v)
        q = self.q.linear(x)
        patches = _heads_first(self.q.patches(q[:, 1:] if self.prefix else q))
        mixed = self._answer(patches, k, v, self.query_grid)
        if self.prefix:
            mixed = torch.cat((self._class_token(q[:, :1], k, v), mixed), dim=1)
        return mixed

    def _class_token(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The answer to a projected class token: [B, 1, width]."""
        q = _heads_first(self.q.class_token(q))
        mixed = torch.bmm(torch.bmm(q, k).softmax(dim=-1), v)
        return _heads_last(mixed + q if self.cls_query else mixed, self.plan.heads)

    def _in_windows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same in windows. Only keys and values are padded to whole ones: the queries of the
        last windows are as many as the map has there.
        """
        q, k, v = (
            _padded(part, grid, side)
            for part, grid, side in (
                (q, self.plan.query_grid, (1, 1)),
                (k, self.plan.key_grid, self.key_grid),
                (v, self.plan.key_grid, self.key_grid),
            )
        )
        spans = [
            _spans(side, queries, keys)
            for side, queries, keys in zip(
                self.plan.query_grid, self.query_grid, self.key_grid, strict=True
            )
        ]
        lines = []
        for rows in spans[0]:
            parts = [self._region(q, k, v, rows, columns) for columns in spans[1]]
            lines.append(torch.cat(parts, dim=2) if len(parts) > 1 else parts[0])
        mixed = torch.cat(lines, dim=1) if len(lines) > 1 else lines[0]
        return mixed.reshape(mixed.shape[0], -1, self.plan.width)

    def _region(self, q: Tensor, k: Tensor, v: Tensor, rows: Span, columns: Span) -> Tensor:
        """Windows with the same number of queries: three maps -> [B, rows, columns, width]."""
        q = _cut(q, rows.queries, columns.queries)
        k, v = (_cut(part, rows.keys, columns.keys) for part in (k, v))
        grid, window = tuple(q.shape[1:3]), (rows.side, columns.side)
        heads = self.plan.heads
        q = _heads_first(_tiles(q, window, heads))
        k, v = (_tiles(part, self.key_grid, heads) for part in (k, v))
        mixed = self._answer(q, _keys_last(k), _heads_first(v), window)
        return unpartition(mixed, grid, window)

    def _answer(self, q: Tensor, k: Tensor, v: Tensor, grid: tuple[int, ...]) -> Tensor:
        """The answers to a grid of queries [G, queries, d], and these: [B, queries, width]."""
        known = torch.cat((q, *self._relative(q, grid)), dim=-1)
        k = F.pad(k, (0, 0, 0, self.one_hot.shape[0] - k.shape[1])) + self.one_hot
        mixed = torch.bmm(torch.bmm(known, k).softmax(dim=-1), v) + q
        return _heads_last(mixed, self.plan.heads)

    def _relative(self, q: Tensor, grid: tuple[int, ...]) -> list[Tensor]:
        """q . R for every axis: [G, queries, d] -> [G, queries, keys of the axis] each."""
        groups, queries, dim = q.shape
        lead, rest, terms = groups, queries, []
        for axis, side in zip(self.plan.axes, grid, strict=True):
            rows = self.get_buffer(f"rows_{axis}")  # [side, d, keys]
            if side < rows.shape[0]:
                rows = rows[:side]
            rest //= side
            along = _swapped(q.reshape(lead, side, rest, dim))
            along = torch.bmm(along.reshape(side, lead * rest, dim), rows)
            along = _swapped(along.reshape(side, lead, rest, -1))
            terms.append(along.reshape(groups, queries, -1))
            lead *= side
        return terms

    def _one_hot(self, like: Tensor) -> Tensor:
        """Which place a key has on every axis, below the d rows of the keys themselves."""
        dim = self.plan.width // self.plan.heads
        places = torch.meshgrid(*(torch.arange(side) for side in self.key_grid), indexing="ij")
        rows = [
            F.one_hot(place.flatten(), side).t()
            for place, side in zip(places, self.key_grid, strict=True)
        ]
        return F.pad(torch.cat(rows), (self.prefix, 0, dim, 0)).to(like)


@torch.no_grad()
def shape_pooling_attention(model: nn.Module) -> nn.Module:
    """Write MViTv2's attention for fixed grids, without a gather and with 3-D products alone.

    Heads share a depthwise kernel, so heads as channels pool by the same kernel repeated, and no
    head is laid out before the maps are small: pool(x)_(head, c) = conv(x_(head, c), w_c).
    A position table is read at fixed places, R_a[i, k] = table_a[index_a[i, k]] (at its length
    here), and a query at place i_a of axis a adds q . R_a[i_a, k_a] to the logit of each key at
    place k_a: one product an axis, with the axis as its batch. With e_a(k) the one-hot vector of
    key k's place, the logits are one product more:
        s q . k + sum_a q . R_a[i_a, k_a] = [q, q R_h, q R_w] . [s k, e_h(k), e_w(k)]
    The class token's key has no place, e = 0; its query meets the keys alone. s goes into the
    affine of the keys' norm. Windows are a batch of grids; their padding has k = 0 and e(k). The
    queries of the padding are never read, so windows at the ends have fewer of them.
    Needs: convolutions over time shifted. Leaves q, k and v apart: a slice of a joint projection
    costs as much as the joint projection saves.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Attention):
            model.set_submodule(name, PoolingAttention(module))
    return model


def _pooled(attention: Attention, place: int) -> Pooled:
    """q, k or v by its place in the joint projection."""
    name, qkv = "qkv"[place], attention.qkv
    linear = nn.Linear(qkv.in_features, qkv.out_features // 3)
    linear.weight = nn.Parameter(qkv.weight.chunk(3)[place].clone())
    linear.bias = nn.Parameter(qkv.bias.chunk(3)[place].clone())
    pool = deepcopy(attention.get_submodule(f"pool_{name}"))
    norm = attention.get_submodule(f"norm_{name}")
    assert isinstance(pool, nn.Conv2d | ShiftedConv)
    assert isinstance(norm, nn.LayerNorm)
    for conv in pool.modules():
        if isinstance(conv, nn.Conv2d):
            conv.weight = nn.Parameter(conv.weight.repeat(attention.plan.heads, 1, 1, 1))
            conv.in_channels = conv.out_channels = conv.groups = conv.weight.shape[0]
    return Pooled(linear, pool, norm, attention.plan)


def _rows(attention: Attention, place: int, axis: str) -> Tensor:
    """The position table of one axis as its pairs read it: [queries, d, keys]."""
    length = 2 * max(attention.query_grid[place], attention.key_grid[place]) - 1
    table = resize_table(attention.get_parameter(f"rel_pos_{axis}"), length)
    return table[attention.get_buffer(f"index_{axis}")].transpose(1, 2).contiguous()


def _scaled(norm: nn.LayerNorm, scale: float) -> nn.LayerNorm:
    scaled = deepcopy(norm)
    scaled.weight.mul_(scale)
    scaled.bias.mul_(scale)
    return scaled


def _heads_first(x: Tensor) -> Tensor:
    """[B, N, heads, d] -> [B heads, N, d]; no copy where there is one head."""
    batch, tokens, heads, dim = x.shape
    if heads > 1:
        x = x.transpose(1, 2)
    return x.reshape(batch * heads, tokens, dim)


def _heads_last(x: Tensor, heads: int) -> Tensor:
    """[B heads, N, d] -> [B, N, heads d]; no copy where there is one head."""
    if heads == 1:
        return x
    _, tokens, dim = x.shape
    return x.reshape(-1, heads, tokens, dim).transpose(1, 2).reshape(-1, tokens, heads * dim)


def _swapped(x: Tensor) -> Tensor:
    """The first two of four dimensions swapped; no copy where the one has size 1."""
    return x if 1 in x.shape[:2] else x.transpose(0, 1)


def _keys_last(x: Tensor) -> Tensor:
    """[B, N, heads, d] -> [B heads, d, N]."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[3], x.shape[1])


def _padded(x: Tensor, grid: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """[B, tokens, heads, d] -> a map [B, rows, columns, heads d], with zeros to whole windows."""
    maps = x.reshape(x.shape[0], *grid, -1)
    down, right = (-side % whole for side, whole in zip(grid, window, strict=True))
    return F.pad(maps, (0, 0, 0, right, 0, down)) if down or right else maps


def _spans(side: int, queries: int, keys: int) -> list[Span]:
    """Whole windows of so many queries and keys on one axis, and what is left of it."""
    whole, rest = divmod(side, queries)
    end = whole * queries
    spans = [Span((0, end), (0, whole * keys), queries)] if whole else []
    if rest:
        spans.append(Span((end, side), (whole * keys, (whole + 1) * keys), rest))
    return spans


def _cut(maps: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Some rows and columns of [B, rows, columns, C]; no copy where they are all."""
    for dim, (start, end) in ((1, rows), (2, columns)):
        if end - start < maps.shape[dim]:
            maps = maps.narrow(dim, start, end - start)
    return maps


def _tiles(maps: Tensor, window: tuple[int, ...], heads: int) -> Tensor:
    """Whole windows of [B, rows, columns, C]: [B windows, tokens, heads, d]."""
    batch, *grid, channels = maps.shape
    tiles = partition(maps.reshape(batch, 1, -1, channels), tuple(grid), window)
    return tiles.reshape(tiles.shape[0], -1, heads, channels // heads)
