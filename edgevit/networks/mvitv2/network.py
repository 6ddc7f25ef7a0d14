"""MViTv2 (CVPR 2022): image and video classifiers and the detection backbone with its pyramid,
under the official key names.

Source: Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and
Detection"; official code facebookresearch/mvit (mvit/models/attention.py, image),
facebookresearch/SlowFast (slowfast/models/attention.py, video) and facebookresearch/detectron2
(modeling/backbone/mvit.py and fpn.py). Image and video share one block: a clip has one axis more.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from types import MappingProxyType
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts.layers import Network, size_of
from edgevit.networks.parts.norm_readers import Reader, Reading, token_readers
from edgevit.networks.parts.transformer import MeanToken, Mlp, OneToken, Placed

# Time comes first and falls away for pictures.
PATCH_STRIDE = (2, 4, 4)
PATCH_KERNEL = (3, 7, 7)
POOL_KERNEL = 3
EPS = 1e-6  # of every LayerNorm
MLP_RATIO = 4
PYRAMID_CHANNELS = 256
CONVS: Mapping[int, Callable[..., nn.Module]] = MappingProxyType({2: nn.Conv2d, 3: nn.Conv3d})
MAX_POOLS: Mapping[int, Callable[..., nn.Module]] = MappingProxyType(
    {2: nn.MaxPool2d, 3: nn.MaxPool3d}
)


@dataclass(frozen=True, slots=True)
class Config:
    """One variant at one input size."""

    depths: tuple[int, ...]
    dim: int  # of the first stage; every stage doubles it, and the heads
    heads: int
    input_size: tuple[int, ...] = (224, 224)  # height and width, or frames, height and width
    num_classes: int = 1000
    cls_token: bool = False
    # Where a stage doubles its channels: in the attention of its first block, or in the MLP of the
    # stage before (the official DIM_MUL_IN_ATT).
    expand_in_attention: bool = True
    cls_query: bool = False  # whether residual pooling adds the query to the class token's row too
    kv_stride: int = 4  # of keys and values in the first stage; halved with every stage
    window: int = 0  # side of the first stage's attention windows in patches; 0: none at all
    table_size: tuple[int, ...] | None = None  # input that the position tables are for, if another

    @property
    def axes(self) -> str:
        """The letters of the token grid: `thw` or `hw`."""
        return "thw"[-len(self.input_size) :]


_T = Config((1, 2, 5, 2), dim=96, heads=1)
_S = Config((1, 2, 11, 2), dim=96, heads=1)
_B = Config((2, 3, 16, 3), dim=96, heads=1)
_L = Config((2, 6, 36, 4), dim=144, heads=2)
_H = Config((4, 8, 60, 8), dim=192, heads=3)
_MICRO = Config((1, 1, 3, 1), dim=24, heads=1, num_classes=9)

# Image: facebookresearch/mvit configs/test/MVITv2_*_test.yaml. H was published pre-trained on
# ImageNet-21k alone, as were other files of B and L, all with a class token (see `with_cls_token`).
IMAGE: Mapping[str, Config] = MappingProxyType(
    {
        "t": _T,
        "s": _S,
        "b": _B,
        "l": replace(_L, expand_in_attention=False),
        "h": replace(_H, cls_token=True),
        "micro": replace(_MICRO, input_size=(128, 128)),
    }
)

# Video: SlowFast configs/Kinetics/MVITv2_{S_16x4,B_32x3,L_40x3_test}.yaml.
VIDEO: Mapping[str, Config] = MappingProxyType(
    {
        name: replace(config, input_size=size, num_classes=classes, cls_token=True, kv_stride=8)
        for name, config, size, classes in (
            ("s", _S, (16, 224, 224), 400),
            ("b", _B, (32, 224, 224), 400),
            ("l", _L, (40, 312, 312), 400),
            ("micro", _MICRO, (8, 96, 96), 9),
        )
    }
)

# Detection: detectron2 projects/MViTv2/configs. The tables stay as pre-trained at 224 pixels.
DETECTION: Mapping[str, Config] = MappingProxyType(
    {
        name: replace(config, input_size=(672, 672), window=56, table_size=(224, 224))
        for name, config in (("t", _T), ("s", _S), ("b", _B), ("l", _L), ("h", _H))
    }
)

CONFIGS: Mapping[str, Mapping[str, Config]] = MappingProxyType(
    {"classification": IMAGE, "video": VIDEO, "features": DETECTION}
)


def config_of(card: ModelCard) -> Config:
    """The configuration of a card's variant for its task."""
    return CONFIGS[card.task][card.variant]


def with_cls_token(config: Config) -> Config:
    """The configuration of the files pre-trained on ImageNet-21k: a class token, and channels that
    double in the attention for L too (timm mvitv2.py, mvitv2_*_cls).
    """
    return replace(config, cls_token=True, expand_in_attention=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one block is built for. Grids are tokens an axis."""

    axes: str
    inputs: int
    width: int  # of the attention
    outputs: int
    heads: int
    grid: tuple[int, ...]
    nominal: tuple[int, ...]  # the grid that the position tables are for
    stride_q: tuple[int, ...]
    stride_kv: tuple[int, ...]
    window: int  # side of an attention window in this block's input grid; 0: global

    @property
    def query_grid(self) -> tuple[int, ...]:
        """The whole grid of pooled queries, which is the block's output grid."""
        return _ceil(self.grid, self.stride_q)

    @property
    def key_grid(self) -> tuple[int, ...]:
        """The whole grid of pooled keys and values."""
        return _ceil(self.grid, self.stride_kv)

    @property
    def table_lengths(self) -> tuple[int, ...]:
        """Rows of the position table of every axis, as the official projects size them."""
        sides = zip(self.nominal, self.stride_q, self.stride_kv, strict=True)
        return tuple(2 * max(side // q, side // kv) - 1 for side, q, kv in sides)


def _ceil(grid: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """What a convolution with half its kernel as padding leaves of a grid."""
    return tuple(-(-side // step) for side, step in zip(grid, strides, strict=True))


def _floor(grid: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side // step for side, step in zip(grid, strides, strict=True))


def plan_blocks(config: Config) -> tuple[Plan, ...]:
    """Every block's widths, grids and strides. Time is never strided after the patches.

    Detection differs from classification in two places (detectron2 mvit.py): keys are strided twice
    as far in the last block of stages 2 and 3, and all but the last blocks of stages 2 to 4 attend
    in windows.
    """
    axes = config.axes
    patch = PATCH_STRIDE[-len(axes) :]
    grid = _ceil(config.input_size, patch)
    nominal = _floor(config.table_size or config.input_size, patch)
    width, heads, stride_kv, window = config.dim, config.heads, config.kv_stride, config.window
    inputs = width
    plans = []
    for stage, depth in enumerate(config.depths):
        for index in range(depth):
            starts, ends = stage > 0 and index == 0, index == depth - 1
            if starts:
                width, heads, stride_kv = 2 * width, 2 * heads, max(stride_kv // 2, 1)
            farther = config.window and ends and stage in (1, 2)
            doubles = not config.expand_in_attention and ends and stage < len(config.depths) - 1
            plan = Plan(
                axes=axes,
                inputs=inputs,
                width=width,
                outputs=2 * width if doubles else width,
                heads=heads,
                grid=grid,
                nominal=nominal,
                stride_q=_spatial(axes, 2 if starts else 1),
                stride_kv=_spatial(axes, 2 * stride_kv if farther else stride_kv),
                window=0 if ends and stage else window,
            )
            plans.append(plan)
            inputs, grid = plan.outputs, plan.query_grid
            nominal = _floor(nominal, plan.stride_q)
            if starts:
                window //= 2
    return tuple(plans)


def _spatial(axes: str, stride: int) -> tuple[int, ...]:
    return tuple(1 if axis == "t" else stride for axis in axes)


def relative_index(queries: int, keys: int) -> Tensor:
    """Which row of a position table of 2 max(queries, keys) - 1 rows each pair reads.

    int64 [queries, keys]. The shorter side's coordinates are stretched to the longer one's and the
    distance is cut to a whole number, in float32 and in the official order: where the ratio is no
    whole number, the rounding decides the row. Source: SlowFast attention.py, cal_rel_pos_spatial.
    """
    stretch_q, stretch_k = max(keys / queries, 1.0), max(queries / keys, 1.0)
    q = torch.arange(queries, device="cpu")[:, None] * stretch_q
    k = torch.arange(keys, device="cpu")[None, :] * stretch_k
    rows = (q - k + (keys - 1) * stretch_k).long()
    return torch.tensor(rows.tolist(), dtype=torch.int64)


def resize_table(table: Tensor, length: int) -> Tensor:
    """A position table [rows, C] at another length, linearly, as all official projects do it."""
    if table.shape[0] == length:
        return table
    return F.interpolate(table.t()[None], size=length, mode="linear")[0].t()


class PatchEmbed(nn.Module):
    """Overlapping patches to tokens."""

    def __init__(self, axes: str, dim: int) -> None:
        super().__init__()
        kernel = PATCH_KERNEL[-len(axes) :]
        self.proj = CONVS[len(axes)](
            3, dim, kernel, PATCH_STRIDE[-len(axes) :], tuple(side // 2 for side in kernel)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, (T,) H, W] -> [B, tokens, C]."""
        maps: Tensor = self.proj(x)
        return maps.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Pooling attention with decomposed relative positions and residual pooling.

    softmax(d^-1/2 q k^T + q . R_h + q . R_w (+ q . R_t)) v + q, where q, k and v are first pooled
    by depthwise convolutions that the heads share. A class token, where there is one, goes around
    the convolutions and the positions, and its own query is not added unless `cls_query`.
    """

    pool_q: nn.Module
    pool_k: nn.Module
    pool_v: nn.Module
    norm_q: nn.Module
    norm_k: nn.Module
    norm_v: nn.Module

    def __init__(self, plan: Plan, cls_token: bool, cls_query: bool) -> None:
        super().__init__()
        head_dim = plan.width // plan.heads
        self.plan = plan
        self.prefix = int(cls_token)
        self.cls_query = cls_query
        self.class_only = False  # set by a pass where nobody reads the patches' answers
        self.scale = head_dim**-0.5
        self.qkv = nn.Linear(plan.inputs, 3 * plan.width)
        self.proj = nn.Linear(plan.width, plan.width)
        for name, strides in (
            ("q", plan.stride_q),
            ("k", plan.stride_kv),
            ("v", plan.stride_kv),
        ):
            pool = CONVS[len(plan.axes)](
                head_dim,
                head_dim,
                POOL_KERNEL,
                strides,
                POOL_KERNEL // 2,
                groups=head_dim,
                bias=False,
            )
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", nn.LayerNorm(head_dim, EPS))
        # The grids between which one softmax attends: a window's or the whole map's.
        self.query_grid, self.key_grid = plan.query_grid, plan.key_grid
        if plan.window:
            window = tuple(plan.window for _ in plan.axes)
            self.query_grid = _floor(window, plan.stride_q)
            self.key_grid = _floor(window, plan.stride_kv)
        tables = zip(plan.axes, plan.table_lengths, self.query_grid, self.key_grid, strict=True)
        for axis, rows, queries, keys in tables:
            self.register_parameter(f"rel_pos_{axis}", nn.Parameter(torch.zeros(rows, head_dim)))
            self.register_buffer(f"index_{axis}", relative_index(queries, keys), persistent=False)

    def token_readers(self) -> list[Reader]:
        """The one projection."""
        return [self.qkv]

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, inputs] -> [B, pooled tokens, width]; a class token comes first, or alone."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.plan.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.class_only:
            q = self.norm_q(q[:, :, :1])
        else:
            q = self._pooled(q, self.pool_q, self.norm_q)
        k = self._pooled(k, self.pool_k, self.norm_k)
        v = self._pooled(v, self.pool_v, self.norm_v)
        mixed = self._in_windows(q, k, v) if self.plan.window else self._attend(q, k, v)
        if not self.prefix or self.cls_query:
            mixed = mixed + q
        elif not self.class_only:
            pooled = mixed[:, :, 1:] + q[:, :, 1:]
            mixed = torch.cat((mixed[:, :, :1], pooled), dim=2)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, -1, self.plan.width))
        return out

    def _pooled(self, x: Tensor, pool: nn.Module, norm: nn.Module) -> Tensor:
        """[B, heads, tokens, d] -> the same with fewer tokens."""
        batch, heads, _, dim = x.shape
        maps = x[:, :, self.prefix :].reshape(batch * heads, *self.plan.grid, dim)
        pooled: Tensor = pool(maps.movedim(-1, 1))
        x_pooled = pooled.flatten(2).transpose(1, 2).reshape(batch, heads, -1, dim)
        if self.prefix:
            x_pooled = torch.cat((x[:, :, :1], x_pooled), dim=2)
        out: Tensor = norm(x_pooled)
        return out

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, heads, queries, d] and two [B, heads, keys, d] -> [B, heads, queries, d]."""
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if not self.class_only:
            bias = self._positions(q[:, :, self.prefix :])
            if self.prefix:  # the class token's row and column have no position
                bias = F.pad(bias, (1, 0, 1, 0))
            logits = logits + bias
        mixed: Tensor = logits.softmax(dim=-1) @ v
        return mixed

    def _positions(self, q: Tensor) -> Tensor:
        """The sum over axes of q . R[query, key] -> [B, heads, queries, keys]; q is not scaled."""
        batch, heads, queries, dim = q.shape
        maps = q.reshape(batch * heads, *self.query_grid, dim)
        axes = self.plan.axes
        terms = []
        for place, axis in enumerate(axes):
            length = 2 * max(self.query_grid[place], self.key_grid[place]) - 1
            table = resize_table(self.get_parameter(f"rel_pos_{axis}"), length)
            rows = table[self.get_buffer(f"index_{axis}")]
            along = torch.einsum(f"b{axes}c,{axis}kc->b{axes}k", maps, rows)
            spread = [1] * len(axes)
            spread[place] = self.key_grid[place]
            terms.append(along.reshape(batch * heads, queries, *spread))
        bias: Tensor = sum(terms[1:], start=terms[0])
        return bias.reshape(batch, heads, queries, -1)

    def _in_windows(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention inside windows of the pooled maps.

        Maps are padded with zeros to whole windows after pooling, and no mask hides the padding:
        padded keys take part with a logit of their positions alone, as in detectron2.
        """
        batch, heads = q.shape[:2]
        q = partition(q, self.plan.query_grid, self.query_grid)
        k = partition(k, self.plan.key_grid, self.key_grid)
        v = partition(v, self.plan.key_grid, self.key_grid)
        mixed = unpartition(self._attend(q, k, v), self.plan.query_grid, self.query_grid)
        return mixed.reshape(batch, heads, -1, mixed.shape[-1])


def partition(x: Tensor, grid: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """[B, heads, h w, d] -> [B x heads x windows, 1, window tokens, d], padded with zeros."""
    (height, width), (rows, columns) = grid, window
    dim = x.shape[-1]
    down, right = -height % rows, -width % columns
    maps = x.reshape(-1, height, width, dim)
    if down or right:
        maps = F.pad(maps, (0, 0, 0, right, 0, down))
    tiles = maps.reshape(
        -1, (height + down) // rows, rows, (width + right) // columns, columns * dim
    )
    return tiles.transpose(2, 3).reshape(-1, 1, rows * columns, dim)


def unpartition(x: Tensor, grid: tuple[int, ...], window: tuple[int, ...]) -> Tensor:
    """[B x heads x windows, 1, window tokens, d] -> [B x heads, h, w, d] without the padding."""
    (height, width), (rows, columns) = grid, window
    dim = x.shape[-1]
    down, across = -(-height // rows), -(-width // columns)
    tiles = x.reshape(-1, down, across, rows, columns * dim).transpose(2, 3)
    maps = tiles.reshape(-1, down * rows, across * columns, dim)
    if down * rows > height:
        maps = maps[:, :height]
    return maps[:, :, :width] if across * columns > width else maps


class Block(nn.Module):
    """x = pool(shortcut) + attention(norm x); x = shortcut + mlp(norm x).

    The shortcut is x itself, but where the channels double it is a projection of the normed x.
    """

    def __init__(self, plan: Plan, cls_token: bool, cls_query: bool) -> None:
        super().__init__()
        self.plan = plan
        self.prefix = int(cls_token)
        self.norm1 = nn.LayerNorm(plan.inputs, EPS)
        self.attn = Attention(plan, cls_token, cls_query)
        self.norm2 = nn.LayerNorm(plan.width, EPS)
        self.mlp = Mlp(plan.width, MLP_RATIO * plan.width, plan.outputs)
        if plan.inputs != plan.outputs:
            self.proj = nn.Linear(plan.inputs, plan.outputs)
        self.expands_first = plan.inputs != plan.width
        self.expands_last = plan.width != plan.outputs
        if max(plan.stride_q) > 1:
            kernel = tuple(step + 1 if step > 1 else 1 for step in plan.stride_q)
            padding = tuple(side // 2 for side in kernel)
            self.pool_skip: nn.Module | None = MAX_POOLS[len(plan.axes)](
                kernel, plan.stride_q, padding
            )
        else:
            self.pool_skip = None

    def forward(self, x: Tensor) -> Tensor:
        """[B, tokens, inputs] -> [B, pooled tokens, outputs]; a class token comes first, or alone
        where the attention answers for it alone.
        """
        normed = self.norm1(x)
        shortcut = self.proj(normed) if self.expands_first else x
        x = self._skipped(shortcut) + self.attn(normed)
        normed = self.norm2(x)
        shortcut = self.proj(normed) if self.expands_last else x
        out: Tensor = shortcut + self.mlp(normed)
        return out

    def _skipped(self, x: Tensor) -> Tensor:
        """The shortcut on the grid of the pooled queries."""
        if self.attn.class_only:
            return x[:, :1]
        if self.pool_skip is None:
            return x
        batch, _, dim = x.shape
        patches = x[:, 1:] if self.prefix else x
        maps = patches.transpose(1, 2).reshape(batch, dim, *self.plan.grid)
        pooled: Tensor = self.pool_skip(maps).flatten(2).transpose(1, 2)
        return torch.cat((x[:, :1], pooled), dim=1) if self.prefix else pooled

    def norm_readings(self) -> Iterator[Reading]:
        """Where the channels double, the shortcut reads a norm too."""
        first: list[Reader] = [self.proj] if self.expands_first else []
        last: list[Reader] = [self.proj] if self.expands_last else []
        tokens = token_readers(self.attn)
        yield Reading("norm1", [*tokens, *first] if tokens else [])
        yield Reading("norm2", [self.mlp.fc1, *last])


Taps: TypeAlias = dict[int, tuple[str, tuple[int, ...]]]


def _blocks(config: Config, plans: tuple[Plan, ...]) -> nn.ModuleList:
    return nn.ModuleList(Block(plan, config.cls_token, config.cls_query) for plan in plans)


def _taps(config: Config, plans: tuple[Plan, ...], name: str, first: int) -> Taps:
    """The last block of every stage, with a name and the grid of its map."""
    ends = [end - 1 for end in accumulate(config.depths)]
    return {end: (f"{name}{n}", plans[end].query_grid) for n, end in enumerate(ends, start=first)}


def to_map(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Tokens [B, N, C] as a map [B, C, (t,) h, w]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


class Head(nn.Module):
    """The classifier, without the softmax that the official one adds in evaluation."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] -> logits [B, classes]."""
        out: Tensor = self.projection(x)
        return out


class MViT(Network):
    """Classification of a picture, or of a clip where the configuration has frames."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        plans = plan_blocks(config)
        dim = plans[-1].outputs
        self.taps = _taps(config, plans, "stage", first=1) if all_outputs else {}
        self.patch_embed = PatchEmbed(config.axes, config.dim)
        if config.cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.blocks = _blocks(config, plans)
        self.norm = nn.LayerNorm(dim, EPS)
        self.head = Head(dim, config.num_classes)
        # No parameters; passes find and replace them.
        self.placed: nn.Module = Placed()
        self.selected: nn.Module = OneToken() if config.cls_token else MeanToken()
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, (T,) H, W], normalized RGB -> logits [B, classes].

        With all outputs also `stage1` to `stage4`, the maps [B, C, (T / 2,) h, w] behind every
        stage, and `tokens`, normed.
        """
        prefix = int(self.config.cls_token)
        maps = {}
        x = self.patch_embed(x)
        if prefix:
            x = self.placed(x, [self.cls_token], None)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                name, grid = self.taps[index]
                maps[name] = to_map(x[:, prefix:], grid)
        tokens: Tensor = self.norm(x)
        logits: Tensor = self.head(self.selected(tokens))
        return {"logits": logits, "tokens": tokens, **maps} if self.all_outputs else logits

    def norm_readings(self) -> Iterator[Reading]:
        """The classifier reads the last norm, where nothing else returns it."""
        if not self.all_outputs:
            yield Reading("norm", [self.head.projection])


class Backbone(nn.Module):
    """The stages of the detection backbone, each output normed on its own."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        plans = plan_blocks(config)
        self.taps = _taps(config, plans, "scale", first=2)
        self.patch_embed = PatchEmbed(config.axes, config.dim)
        self.blocks = _blocks(config, plans)
        for index, (name, _) in self.taps.items():
            self.add_module(f"{name}_norm", nn.LayerNorm(plans[index].outputs, EPS))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> `scale2` to `scale5`, [B, C, H / s, W / s] at strides 4 to 32."""
        maps = {}
        x = self.patch_embed(x)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                name, grid = self.taps[index]
                maps[name] = to_map(self.get_submodule(f"{name}_norm")(x), grid)
        return maps


class Nearest(nn.Module):
    """Nearest resize to the size of another map; no parameters."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, H, W]."""
        return F.interpolate(x, size_of(like), mode="nearest")


class EverySecond(nn.Module):
    """Every second pixel, as a pool of one (detectron2's LastLevelMaxPool); no parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        return F.max_pool2d(x, kernel_size=1, stride=2)


class MViTPyramid(Network):
    """The detection backbone with its feature pyramid: what a detector's heads read."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.bottom_up = Backbone(config)
        self.every_second: nn.Module = EverySecond()
        for stage in range(len(config.depths)):
            lateral = nn.Conv2d(config.dim << stage, PYRAMID_CHANNELS, 1)
            output = nn.Conv2d(PYRAMID_CHANNELS, PYRAMID_CHANNELS, 3, 1, 1)
            self.add_module(f"fpn_lateral{stage + 2}", lateral)
            self.add_module(f"fpn_output{stage + 2}", output)
            if stage < len(config.depths) - 1:
                self.add_module(f"nearest{stage + 2}", Nearest())
        _initialize(self, zero_tables=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> p2 to p6, [B, 256, H / s, W / s] at strides 4 to 64.

        With all outputs also `scale2` to `scale5`, the backbone's own normed maps.
        """
        scales: dict[str, Tensor] = self.bottom_up(x)
        maps: dict[str, Tensor] = {}
        above: Tensor | None = None
        for number in (5, 4, 3, 2):
            total: Tensor = self.get_submodule(f"fpn_lateral{number}")(scales[f"scale{number}"])
            if above is not None:
                total = total + self.get_submodule(f"nearest{number}")(above, total)
            maps[f"p{number}"] = self.get_submodule(f"fpn_output{number}")(total)
            above = total
        maps["p6"] = self.every_second(maps["p5"])
        pyramid = {name: maps[name] for name in ("p2", "p3", "p4", "p5", "p6")}
        return {**pyramid, **scales} if self.all_outputs else tuple(pyramid.values())

    def norm_readings(self) -> Iterator[Reading]:
        """Each lateral reads one of the backbone's maps, where nothing else returns it."""
        if not self.all_outputs:
            for scale, _ in self.bottom_up.taps.values():
                lateral = self.get_submodule(f"fpn_lateral{scale[-1]}")
                assert isinstance(lateral, nn.Conv2d)
                yield Reading(f"bottom_up.{scale}_norm", [lateral])


def _initialize(network: nn.Module, zero_tables: bool = False) -> None:
    """Truncated normal of 0.02 for linear layers, tables and the class token (mvit_model.py); the
    detection tables start at zero and the pyramid's convolutions as Caffe2's (mvit.py, fpn.py).
    """
    for name, parameter in network.named_parameters():
        if name.endswith("cls_token") or (".rel_pos_" in name and not zero_tables):
            nn.init.trunc_normal_(parameter, std=0.02)
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif name.startswith("fpn_") and isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build(card: ModelCard, config: Config, all_outputs: bool = False) -> Network:
    """The network of a card, at its random start."""
    if card.task == "features":
        return MViTPyramid(config, all_outputs)
    return MViT(config, all_outputs)
