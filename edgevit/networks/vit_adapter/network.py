"""ViT-Adapter (ICLR 2023): feature networks for segmentation and detection, and UperNet on them.

Source: Chen et al., "Vision Transformer Adapter for Dense Predictions"; official code
czczup/ViT-Adapter, {segmentation/mmseg_custom,detection/mmdet_custom}/models/backbones/
{vit_adapter,adapter_modules}.py and base/vit.py. The module tree carries the official names, so
that a checkpoint loads without a key map.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts import transformer
from edgevit.networks.parts.layers import Network, Resize, size_of
from edgevit.networks.parts.norm_readers import Reading
from edgevit.networks.parts.transformer import Attend, Attention, Mlp
from edgevit.networks.vit_adapter.deformable import DeformableAttention, Grid, initialize_deformable
from edgevit.networks.vit_adapter.upernet import FCNHead, UPerHead, initialize_head

PATCH = 16  # px
COARSEST = 32  # px: the input's sides are multiples of it
EPS = 1e-6  # of every LayerNorm
SCALES = ("scale4", "scale8", "scale16", "scale32")

# What the ViT adds to the four maps: the tokens after each of the four interactions (the official
# segmentation code), the last tokens four times (detection), or nothing (light).
ViTFeatures = Literal["stages", "last", "none"]


@dataclass(frozen=True, slots=True)
class Config:
    """One variant at one input size."""

    dim: int
    depth: int
    heads: int
    deform_heads: int
    deform_ratio: float  # width of deformable attention's values, as a share of dim
    interactions: int = 4  # over equal groups of blocks
    grid: Grid = (14, 14)  # of the position table
    input_size: tuple[int, int] = (512, 512)
    conv_inplane: int = 64
    points: int = 4
    mlp_ratio: int = 4
    conv_ffn: bool = True
    conv_ffn_ratio: float = 0.25
    extra_extractors: int = 2
    vit_features: ViTFeatures = "stages"
    layer_scale: bool = True
    global_every: int = 0  # every n-th block is global, the others see windows; 0: all are global
    window: int = 14  # tokens
    num_classes: int = 150
    head_channels: int = 512
    aux_channels: int = 256
    auxiliary: bool = True

    @property
    def tokens(self) -> Grid:
        """Rows and columns of ViT tokens."""
        return self.input_size[0] // PATCH, self.input_size[1] // PATCH

    @property
    def pyramid(self) -> tuple[Grid, Grid, Grid]:
        """Grids of the adapter's three levels: 1/8, 1/16 and 1/32."""
        height, width = self.tokens
        return (height * 2, width * 2), (height, width), (height // 2, width // 2)

    def is_global(self, block: int) -> bool:
        """Whether this block attends to all tokens."""
        return not self.global_every or (block + 1) % self.global_every == 0


_VARIANTS = {
    "t": Config(dim=192, depth=12, heads=3, deform_heads=6, deform_ratio=1.0),
    "s": Config(dim=384, depth=12, heads=6, deform_heads=6, deform_ratio=1.0),
    "b": Config(dim=768, depth=12, heads=12, deform_heads=12, deform_ratio=0.5),
    # AugReg's L was pretrained at 384 px.
    "l": Config(dim=1024, depth=24, heads=16, deform_heads=16, deform_ratio=0.5, grid=(24, 24)),
    # Ours: every part of the larger ones, below a million parameters and 2 MB in half floats.
    "micro": Config(
        dim=64,
        depth=4,
        heads=4,
        deform_heads=4,
        deform_ratio=1.0,
        grid=(8, 8),
        input_size=(128, 128),
        conv_inplane=16,
        mlp_ratio=2,
        num_classes=10,
        head_channels=64,
        aux_channels=32,
    ),
}


def with_windows(config: Config) -> Config:
    """Windows in all but the last block of each quarter, as the official detection configs set it
    (detection/configs/mask_rcnn: every third of 12 blocks is global, every sixth of 24).
    """
    return replace(config, global_every=max(2, config.depth // 4))


def light(config: Config) -> Config:
    """The light adapter: one interaction over all blocks, which neither mixes its tokens by
    convolution nor adds ViT features
    (segmentation/configs/ade20k/upernet_deit_adapter_light_base_512_160k_ade20k.py).
    """
    return replace(config, interactions=1, conv_ffn=False, extra_extractors=0, vit_features="none")


# Official configs: segmentation/configs/ade20k/upernet_*_adapter_{tiny,small,base,large}_512_*.py
# and detection/configs/mask_rcnn/mask_rcnn_*_adapter_{tiny,small,base,large}_fpn_3x_coco.py.
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        **_VARIANTS,
        **{
            f"{name}-det": with_windows(replace(_VARIANTS[name], vit_features="last"))
            for name in ("t", "s", "b", "l")
        },
    }
)


def to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """[B, h * w, C] -> [B, C, h, w]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def to_tokens(x: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, h * w, C]."""
    return x.flatten(2).transpose(1, 2)


def to_maps(tokens: Tensor, grids: tuple[Grid, ...]) -> list[Tensor]:
    """[B, sum h * w, C] -> [B, C, h, w] of every grid."""
    maps, start = [], 0
    for grid in grids:
        end = start + grid[0] * grid[1]
        # A slice: delegates leave an uneven split outside.
        maps.append(to_map(tokens[:, start:end], grid))
        start = end
    return maps


class PatchEmbed(nn.Module):
    """Patches of 16x16 pixels to tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H / 16 * W / 16, C]."""
        return to_tokens(self.proj(x))


class PositionResize(nn.Module):
    """The stored position table at another grid: bicubic, `align_corners=False`, without the class
    token's row, always computed (at the stored grid it returns the table). No parameters.

    Source: official vit_adapter.py, `_get_pos_embed`.
    """

    def __init__(self, stored: Grid, grid: Grid) -> None:
        super().__init__()
        self.stored, self.grid = stored, grid

    def forward(self, table: Tensor) -> Tensor:
        """[1, 1 + stored tokens, C] -> [1, tokens, C]."""
        patches = to_map(table[:, 1:], self.stored)
        return to_tokens(
            F.interpolate(patches, size=self.grid, mode="bicubic", align_corners=False)
        )


class WindowAttend(Attend):
    """Attention within windows of `window` x `window` tokens.

    Windows start at the top left; at the right and bottom they are filled up with zeros behind the
    projection and nothing masks them, so that a filled key weighs exp(0) and its value is zero.
    """

    def __init__(self, heads: int, scale: float, grid: Grid, window: int) -> None:
        super().__init__(heads, scale)
        self.grid, self.window = grid, window

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three [B, N, C] -> the same shape."""
        mixed = super().forward(self.cut(q), self.cut(k), self.cut(v))
        return self.joined(mixed, q.shape[0])

    def cut(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B * windows, window * window, C]."""
        (height, breadth), window = self.grid, self.window
        batch, _, width = x.shape
        down, across = -(-height // window), -(-breadth // window)
        x = x.reshape(batch, height, breadth, width)
        x = F.pad(x, (0, 0, 0, across * window - breadth, 0, down * window - height))
        x = x.reshape(batch * down, window, across, window, width).transpose(1, 2)
        return x.reshape(-1, window * window, width)

    def joined(self, x: Tensor, batch: int) -> Tensor:
        """[B * windows, window * window, C] -> [B, N, C], what filled the windows left out."""
        (height, breadth), window = self.grid, self.window
        width = x.shape[-1]
        down, across = -(-height // window), -(-breadth // window)
        x = x.reshape(batch * down, across, window, window, width).transpose(1, 2)
        x = x.reshape(batch, down * window, across * window, width)
        return x[:, :height, :breadth].reshape(batch, height * breadth, width)


def block_attention(config: Config, index: int) -> Attention:
    """Attention over all tokens, or within windows, as the configuration has it for this block."""
    heads, scale = config.heads, (config.dim // config.heads) ** -0.5
    if config.is_global(index):
        return Attention(config.dim, heads)
    return Attention(
        config.dim, heads, attend=WindowAttend(heads, scale, config.tokens, config.window)
    )


class Block(transformer.Block):
    """x += gamma1 * attention(norm(x)); x += gamma2 * mlp(norm(x))."""

    attn: Attention
    mlp: Mlp
    gamma1: nn.Parameter | None
    gamma2: nn.Parameter | None

    def __init__(self, config: Config, index: int) -> None:
        dim = config.dim
        super().__init__(dim, block_attention(config, index), Mlp(dim, dim * config.mlp_ratio), EPS)
        for name in ("gamma1", "gamma2"):
            scale = nn.Parameter(torch.ones(dim)) if config.layer_scale else None
            self.register_parameter(name, scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        attended = self.attn(self.norm1(x))
        x = x + (attended if self.gamma1 is None else self.gamma1 * attended)
        mixed: Tensor = self.mlp(self.norm2(x))
        return x + (mixed if self.gamma2 is None else self.gamma2 * mixed)


def normed_convs(inputs: int, outputs: int, *strides: int) -> list[nn.Module]:
    """3x3 convolutions without bias, each with batch norm and ReLU; `outputs` channels in all."""
    modules: list[nn.Module] = []
    for stride in strides:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        modules += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return modules


class SpatialPriorModule(nn.Module):
    """A small convolutional pyramid, projected to the ViT's width. Source: paper, section 3.3."""

    def __init__(self, inplane: int, dim: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*normed_convs(3, inplane, 2, 1, 1), nn.MaxPool2d(3, 2, 1))
        self.conv2 = nn.Sequential(*normed_convs(inplane, 2 * inplane, 2))
        self.conv3 = nn.Sequential(*normed_convs(2 * inplane, 4 * inplane, 2))
        self.conv4 = nn.Sequential(*normed_convs(4 * inplane, 4 * inplane, 2))
        self.fc1 = nn.Conv2d(inplane, dim, 1)
        self.fc2 = nn.Conv2d(2 * inplane, dim, 1)
        self.fc3 = nn.Conv2d(4 * inplane, dim, 1)
        self.fc4 = nn.Conv2d(4 * inplane, dim, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """[B, 3, H, W] -> a map [B, C, H / 4, W / 4] and tokens [B, n, C] at 1/8, 1/16, 1/32."""
        c1 = self.stem(x)
        c2 = self.conv2(c1)
        c3 = self.conv3(c2)
        c4 = self.conv4(c3)
        return (
            self.fc1(c1),
            to_tokens(self.fc2(c2)),
            to_tokens(self.fc3(c3)),
            to_tokens(self.fc4(c4)),
        )


class DWConv(nn.Module):
    """One depthwise 3x3 for the three levels, each as a map of its own."""

    def __init__(self, dim: int, pyramid: tuple[Grid, ...]) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.dwconv = nn.Conv2d(dim, dim, 3, 1, 1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, C] of the three levels -> the same shape."""
        levels = to_maps(x, self.pyramid)
        return torch.cat([to_tokens(self.dwconv(level)) for level in levels], dim=1)


class ConvFFN(nn.Module):
    """Linear, depthwise 3x3, GELU, linear."""

    def __init__(self, dim: int, hidden: int, pyramid: tuple[Grid, ...]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.dwconv = DWConv(hidden, pyramid)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, C] -> the same shape."""
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x))))
        return out


def _attention(config: Config, queries: tuple[Grid, ...], levels: tuple[Grid, ...]) -> nn.Module:
    return DeformableAttention(
        config.dim, config.deform_heads, config.points, config.deform_ratio, queries, levels
    )


class Injector(nn.Module):
    """ViT tokens read the adapter's three levels: x += gamma * attention(norm(x), norm(c))."""

    gamma: nn.Parameter | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.feat_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.attn = _attention(config, (config.tokens,), config.pyramid)
        self.gamma = nn.Parameter(torch.zeros(config.dim))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """[B, N, C] and [B, n, C] -> [B, N, C]."""
        read: Tensor = self.attn(self.query_norm(x), self.feat_norm(c))
        return x + (read if self.gamma is None else self.gamma * read)

    def norm_readings(self) -> Iterator[Reading]:
        """The projections of deformable attention, until a pass has replaced it."""
        yield from _attention_readings(self.attn)


class Extractor(nn.Module):
    """The adapter's levels read the ViT: c += attention(norm(c), norm(x)); c += ffn(norm(c))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.feat_norm = nn.LayerNorm(config.dim, eps=EPS)
        self.attn = _attention(config, config.pyramid, (config.tokens,))
        self.with_ffn = config.conv_ffn
        if config.conv_ffn:
            hidden = int(config.dim * config.conv_ffn_ratio)
            self.ffn = ConvFFN(config.dim, hidden, config.pyramid)
            self.ffn_norm = nn.LayerNorm(config.dim, eps=EPS)

    def forward(self, c: Tensor, x: Tensor) -> Tensor:
        """[B, n, C] and [B, N, C] -> [B, n, C]."""
        c = c + self.attn(self.query_norm(c), self.feat_norm(x))
        return c + self.ffn(self.ffn_norm(c)) if self.with_ffn else c

    def norm_readings(self) -> Iterator[Reading]:
        """The same, and the first layer of the convolutional MLP."""
        if isinstance(self.attn, DeformableAttention):
            yield from _attention_readings(self.attn)
            if self.with_ffn:
                yield Reading("ffn_norm", [self.ffn.fc1])


def _attention_readings(attention: nn.Module) -> Iterator[Reading]:
    if isinstance(attention, DeformableAttention):
        yield Reading("query_norm", [attention.sampling_offsets, attention.attention_weights])
        yield Reading("feat_norm", [attention.value_proj])


class InteractionBlock(nn.Module):
    """Inject, run a group of ViT blocks, extract (in the last interaction three times)."""

    def __init__(self, config: Config, extra_extractors: int) -> None:
        super().__init__()
        self.injector = Injector(config)
        self.extractor = Extractor(config)
        self.extra_extractors = nn.ModuleList(Extractor(config) for _ in range(extra_extractors))

    def forward(self, x: Tensor, c: Tensor, blocks: nn.ModuleList) -> tuple[Tensor, Tensor]:
        """ViT tokens [B, N, C] and adapter tokens [B, n, C] -> both."""
        x = self.injector(x, c)
        for block in blocks:
            x = block(x)
        c = self.extractor(c, x)
        for extractor in self.extra_extractors:
            c = extractor(c, x)
        return x, c


class AddResized(nn.Module):
    """A map and another one at its size; no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.resize = Resize()

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """[B, C, H, W] and [B, C, h, w] -> [B, C, H, W]."""
        same = size_of(added) == size_of(x)
        out: Tensor = x + (added if same else self.resize(added, size_of(x)))
        return out


class Backbone(nn.Module):
    """The plain ViT beside its adapter: four maps of the ViT's width."""

    pos_embed: nn.Parameter | None
    level_embed: nn.Parameter | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        height, width = config.grid
        # The class token's row stays in the table, as in every official file; nothing reads it.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + height * width, config.dim))
        self.level_embed = nn.Parameter(torch.zeros(3, config.dim))
        self.patch_embed = PatchEmbed(config.dim)
        self.positions = PositionResize(config.grid, config.tokens)
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.depth))
        self.spm = SpatialPriorModule(config.conv_inplane, config.dim)
        last = config.interactions - 1
        self.interactions = nn.ModuleList(
            InteractionBlock(config, config.extra_extractors if index == last else 0)
            for index in range(config.interactions)
        )
        self.up = nn.ConvTranspose2d(config.dim, config.dim, 2, 2)
        self.with_vit = nn.ModuleList(AddResized() for _ in SCALES)
        self.norm1 = nn.BatchNorm2d(config.dim)
        self.norm2 = nn.BatchNorm2d(config.dim)
        self.norm3 = nn.BatchNorm2d(config.dim)
        self.norm4 = nn.BatchNorm2d(config.dim)
        initialize_backbone(self)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """[B, 3, H, W] -> the four maps [B, C, H / s, W / s], and the ViT's tokens after each
        interaction as maps [B, C, H / 16, W / 16].
        """
        config = self.config
        c1, *levels = self.spm(x)
        if self.level_embed is not None:
            levels = [level + self.level_embed[i] for i, level in enumerate(levels)]
        c = torch.cat(levels, dim=1)
        tokens = self.patch_embed(x) + self.positions(self.pos_embed)
        group = config.depth // config.interactions
        stages = []
        for index, interaction in enumerate(self.interactions):
            blocks = self.blocks[index * group : (index + 1) * group]
            tokens, c = interaction(tokens, c, blocks)
            stages.append(to_map(tokens, config.tokens))
        c2, c3, c4 = to_maps(c, config.pyramid)
        maps = self._with_vit([self.up(c2) + c1, c2, c3, c4], stages)
        norms = (self.norm1, self.norm2, self.norm3, self.norm4)
        return [norm(x) for norm, x in zip(norms, maps, strict=True)], stages

    def _with_vit(self, maps: list[Tensor], stages: list[Tensor]) -> list[Tensor]:
        """The maps with what the ViT adds to them, resized to each."""
        if self.config.vit_features == "none":
            return maps
        added = stages if self.config.vit_features == "stages" else [stages[-1]] * len(maps)
        return [add(*pair) for add, *pair in zip(self.with_vit, maps, added, strict=True)]


def initialize_backbone(backbone: Backbone) -> None:
    """The official start, with timm's for the ViT, which official training always loads.

    Injectors start closed (gamma 0). Source: official vit_adapter.py, `_init_weights`.
    """
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for part in (backbone.spm, backbone.interactions, backbone.up):
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / (fan_out // module.groups)))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, DeformableAttention):
                initialize_deformable(module)
    assert backbone.pos_embed is not None
    assert backbone.level_embed is not None
    nn.init.trunc_normal_(backbone.pos_embed, std=0.02)
    nn.init.normal_(backbone.level_embed)


class ViTAdapter(Network):
    """The backbone alone: four maps at 1/4, 1/8, 1/16 and 1/32 for somebody's own head."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.backbone = Backbone(config)

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> four maps [B, C, H / s, W / s]; with all outputs a dict
        that holds the ViT's own maps too, `vit1`, `vit2`, ... [B, C, H / 16, W / 16].
        """
        maps, stages = self.backbone(x)
        return _named(maps, stages) if self.all_outputs else tuple(maps)


class ViTAdapterUperNet(Network):
    """Semantic segmentation with UperNet: logits at 1/4 of the input.

    The auxiliary head reads the map at 1/16 and is run for all outputs alone.
    """

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.backbone = Backbone(config)
        self.decode_head = UPerHead((config.dim,) * 4, config.head_channels, config.num_classes)
        initialize_head(self.decode_head)
        self.auxiliary_head: FCNHead | None = None
        if config.auxiliary:
            self.auxiliary_head = FCNHead(config.dim, config.aux_channels, config.num_classes)
            initialize_head(self.auxiliary_head)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> logits [B, classes, H / 4, W / 4]; with all outputs a
        dict of `logits`, `aux` [B, classes, H / 16, W / 16] and the backbone's maps.
        """
        maps, stages = self.backbone(x)
        logits: Tensor = self.decode_head(*maps)
        if not self.all_outputs:
            return logits
        aux = {} if self.auxiliary_head is None else {"aux": self.auxiliary_head(maps[2])}
        return {"logits": logits, **aux, **_named(maps, stages)}


def _named(maps: list[Tensor], stages: list[Tensor]) -> dict[str, Tensor]:
    vit = {f"vit{number}": stage for number, stage in enumerate(stages, start=1)}
    return {**dict(zip(SCALES, maps, strict=True)), **vit}


def build(card: ModelCard, config: Config, all_outputs: bool) -> Network:
    """The network of this card, at its random start."""
    if card.task == "segmentation":
        return ViTAdapterUperNet(config, all_outputs)
    return ViTAdapter(config, all_outputs)
