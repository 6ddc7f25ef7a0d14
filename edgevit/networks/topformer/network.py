"""TopFormer (CVPR 2022): segmentation, classification and feature networks with the official key
names.

Source: Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation";
official code hustvl/TopFormer, mmseg/models/backbones/topformer.py and decode_heads/simple_head.py.
The module tree carries the official names, so that a checkpoint loads without a key map.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts.layers import (
    BNLinear,
    ConvBN,
    ConvModule,
    GlobalPool,
    HardSigmoid,
    Network,
    Resize,
    cat,
    initialize_convs,
    size_of,
)

Injection = Literal["muli_sum", "muli_sum_cbr", "fuse_sum", "fuse_multi"]  # the official spelling
INJECTIONS: tuple[str, ...] = get_args(Injection)
TOKEN_STRIDES = (64, 32)


@dataclass(frozen=True, slots=True)
class Config:
    """One variant. `rows` are the pyramid's blocks: kernel, expansion, channels, stride."""

    rows: tuple[tuple[int, int, int, int], ...]
    taps: tuple[int, ...]  # rows whose outputs are the four maps at 1/4, 1/8, 1/16, 1/32
    heads: int
    decode_channels: int
    head_channels: int
    depthwise_fuse: bool
    key_dim: int = 16
    value_ratio: int = 2
    mlp_ratio: int = 2
    depth: int = 4
    num_classes: int = 150
    token_stride: int = 64
    injection: Injection = "muli_sum"

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps."""
        return tuple(self.rows[i][2] for i in self.taps)


def _rows(
    c4: int, c8: int, c16: int, c32: int, blocks32: int
) -> tuple[tuple[int, int, int, int], ...]:
    last = ((5, 6, c32, 2), (5, 6, c32, 1), (3, 6, c32, 1))[:blocks32]
    return (
        (3, 1, 16, 1),
        (3, 4, c4, 2),
        (3, 3, c4, 1),
        (5, 3, c8, 2),
        (5, 3, c8, 1),
        (3, 3, c16, 2),
        (3, 3, c16, 1),
        *last,
    )


# Paper, table 1 of the appendix; official local_configs/topformer/topformer_{tiny,small,base}.py.
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "t": Config(_rows(16, 32, 64, 96, 2), (2, 4, 6, 8), 4, 128, 128, depthwise_fuse=True),
        "s": Config(_rows(24, 48, 96, 128, 3), (2, 4, 6, 9), 6, 192, 192, depthwise_fuse=False),
        "b": Config(_rows(32, 64, 128, 160, 3), (2, 4, 6, 9), 8, 256, 256, depthwise_fuse=False),
    }
)


def config_of(card: ModelCard) -> Config:
    """The configuration of a card's variant for its task.

    The ImageNet networks read their tokens at 1/32, where 224x224 gives 7x7 of them (BR-IDL/
    PaddleViT image_classification/TopFormer/configs, `C2T_STRIDE: 1`: there the official weights
    reach their top-1).
    """
    config = CONFIGS[card.variant]
    if card.task == "classification":
        return replace(config, num_classes=1000, token_stride=32)
    return config


class InvertedResidual(nn.Module):
    """MobileNetV2 block: [expand,] depthwise, project; ReLU after all but the last."""

    def __init__(self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [ConvBN(inputs, hidden), nn.ReLU()]
        layers += [
            ConvBN(hidden, hidden, kernel, stride, kernel // 2, groups=hidden),
            nn.ReLU(),
            ConvBN(hidden, outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class TokenPyramid(nn.Module):
    """The convolutional stem and its four maps at 1/4, 1/8, 1/16 and 1/32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.taps = config.taps
        self.stem = nn.Sequential(ConvBN(3, 16, 3, 2, 1), nn.ReLU())
        self.layers: list[str] = []
        channels = 16
        for number, (kernel, expansion, outputs, stride) in enumerate(config.rows, start=1):
            name = f"layer{number}"
            self.add_module(name, InvertedResidual(channels, outputs, kernel, expansion, stride))
            self.layers.append(name)
            channels = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> four maps, finest first."""
        maps = []
        x = self.stem(x)
        for index, name in enumerate(self.layers):
            x = self.get_submodule(name)(x)
            if index in self.taps:
                maps.append(x)
        return maps


class PyramidPool(nn.Module):
    """Every map pooled adaptively to the token grid and concatenated.

    The grid is ceil(H / s) x ceil(W / s) of the coarsest map; windows follow the floor and ceil
    rule of adaptive pooling, so they are uneven and overlap where sizes do not divide.
    """

    def __init__(self, token_stride: int) -> None:
        super().__init__()
        self.stride = token_stride // 32

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four [B, C_i, H_i, W_i] -> [B, sum C_i, h, w]."""
        height, width = size_of(maps[-1])
        grid = ((height - 1) // self.stride + 1, (width - 1) // self.stride + 1)
        return cat([F.adaptive_avg_pool2d(x, grid) for x in maps])


class Attention(nn.Module):
    """Multi-head attention over the token grid, without the usual 1/sqrt(d): the official code
    never applies it.
    """

    def __init__(self, dim: int, key_dim: int, heads: int, value_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = ConvBN(dim, key_dim * heads)
        self.to_k = ConvBN(dim, key_dim * heads)
        self.to_v = ConvBN(dim, value_ratio * key_dim * heads)
        self.proj = nn.Sequential(nn.ReLU6(), ConvBN(value_ratio * key_dim * heads, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        batch, _, height, width = x.shape
        tokens = height * width
        q = self.to_q(x).reshape(batch, self.heads, -1, tokens)
        k = self.to_k(x).reshape(batch, self.heads, -1, tokens)
        v = self.to_v(x).reshape(batch, self.heads, -1, tokens)
        weights = (q.transpose(-2, -1) @ k).softmax(dim=-1)
        mixed = v @ weights.transpose(-2, -1)
        out: Tensor = self.proj(mixed.reshape(batch, -1, height, width))
        return out


class Mlp(nn.Module):
    """1x1, depthwise 3x3 (with bias, no norm), ReLU6, 1x1."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = ConvBN(dim, hidden)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.act = nn.ReLU6()
        self.fc2 = ConvBN(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(x))))
        return out


class Block(nn.Module):
    """x += attention(x); x += mlp(x). No norm before either: every convolution carries its own."""

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.attn = Attention(dim, config.key_dim, config.heads, config.value_ratio)
        self.mlp = Mlp(dim, dim * config.mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        x = x + self.attn(x)
        out: Tensor = x + self.mlp(x)
        return out


class Transformer(nn.Module):
    """The blocks in a row."""

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__()
        self.transformer_blocks = nn.ModuleList(Block(dim, config) for _ in range(config.depth))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        for block in self.transformer_blocks:
            x = block(x)
        return x


class InjectionMultiSum(nn.Module):
    """local(L) * up(gate(G)) + up(embed(G)); the gate is applied before it is resized.

    `cbr` is the official `muli_sum_cbr`: ReLU on local and embed, a gate convolution with bias and
    no norm.
    """

    def __init__(self, inputs: int, outputs: int, cbr: bool = False) -> None:
        super().__init__()
        act: Literal["relu"] | None = "relu" if cbr else None
        self.local_embedding = ConvModule(inputs, outputs, act=act)
        self.global_embedding = ConvModule(inputs, outputs, act=act)
        self.global_act = ConvModule(inputs, outputs, norm=not cbr)
        self.gate = HardSigmoid()
        self.resize = Resize()

    def forward(self, local: Tensor, semantics: Tensor) -> Tensor:
        """[B, C, H, W] and [B, C, h, w] -> [B, C', H, W]."""
        size = size_of(local)
        gate = self.resize(self.gate(self.global_act(semantics)), size)
        embed = self.resize(self.global_embedding(semantics), size)
        out: Tensor = self.local_embedding(local) * gate + embed
        return out


class InjectionSum(nn.Module):
    """fuse1(L) + up(fuse2(G))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fuse1 = ConvModule(inputs, outputs)
        self.fuse2 = ConvModule(inputs, outputs)
        self.resize = Resize()

    def forward(self, local: Tensor, semantics: Tensor) -> Tensor:
        """[B, C, H, W] and [B, C, h, w] -> [B, C', H, W]."""
        out: Tensor = self.fuse1(local) + self.resize(self.fuse2(semantics), size_of(local))
        return out


class InjectionMultiply(nn.Module):
    """fuse1(L) * up(gate(fuse2(G)))."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fuse1 = ConvModule(inputs, outputs)
        self.fuse2 = ConvModule(inputs, outputs)
        self.gate = HardSigmoid()
        self.resize = Resize()

    def forward(self, local: Tensor, semantics: Tensor) -> Tensor:
        """[B, C, H, W] and [B, C, h, w] -> [B, C', H, W]."""
        gate = self.resize(self.gate(self.fuse2(semantics)), size_of(local))
        out: Tensor = self.fuse1(local) * gate
        return out


def _injection(kind: Injection, inputs: int, outputs: int) -> nn.Module:
    match kind:
        case "muli_sum":
            return InjectionMultiSum(inputs, outputs)
        case "muli_sum_cbr":
            return InjectionMultiSum(inputs, outputs, cbr=True)
        case "fuse_sum":
            return InjectionSum(inputs, outputs)
        case "fuse_multi":
            return InjectionMultiply(inputs, outputs)


class TokenGroups(nn.Module):
    """The tokens' channels back to the four scales."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.channels = list(channels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """[B, sum C_i, h, w] -> four [B, C_i, h, w]."""
        return torch.split(tokens, self.channels, dim=1)


class Backbone(nn.Module):
    """Token pyramid, pooled tokens, transformer, and semantics injected at 1/8, 1/16 and 1/32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.tpm = TokenPyramid(config)
        self.ppa = PyramidPool(config.token_stride)
        self.trans = Transformer(sum(config.channels), config)
        self.groups = TokenGroups(config.channels)
        # Nothing is injected at 1/4: the official list starts with a module that holds no
        # parameters.
        self.SIM = nn.ModuleList(
            [
                nn.Identity(),
                *(
                    _injection(config.injection, c, config.decode_channels)
                    for c in config.channels[1:]
                ),
            ]
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """[B, 3, H, W] -> the maps by name: `map4..map32`, `tokens`, `scale8`, `scale16`,
        `scale32`.
        """
        maps = self.tpm(x)
        tokens = self.trans(self.ppa(maps))
        groups = self.groups(tokens)
        named = {f"map{stride}": value for stride, value in zip((4, 8, 16, 32), maps, strict=True)}
        named["tokens"] = tokens
        for index, stride in ((1, 8), (2, 16), (3, 32)):
            named[f"scale{stride}"] = self.SIM[index](maps[index], groups[index])
        return named


class SimpleHead(nn.Module):
    """The injected maps summed at 1/8, one 1x1 convolution (depthwise in T), the classifier."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        groups = config.head_channels if config.depthwise_fuse else 1
        self.linear_fuse = ConvModule(
            config.decode_channels, config.head_channels, groups=groups, act="relu"
        )
        self.conv_seg = nn.Conv2d(config.head_channels, config.num_classes, 1)
        self.resize = Resize()

    def forward(self, fine: Tensor, *coarser: Tensor) -> Tensor:
        """Maps at 1/8, 1/16, 1/32 -> logits [B, classes, H / 8, W / 8]."""
        total = fine
        for x in coarser:
            total = total + self.resize(x, size_of(fine))
        out: Tensor = self.conv_seg(self.linear_fuse(total))
        return out


class TopFormer(Network):
    """Semantic segmentation: logits at 1/8 of the input."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.backbone = Backbone(config)
        self.decode_head = SimpleHead(config)
        initialize_convs(self)
        nn.init.normal_(self.decode_head.conv_seg.weight, std=0.01)  # as mmseg starts every head

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> logits [B, classes, ceil(H / 8), ceil(W / 8)]."""
        maps = self.backbone(x)
        logits: Tensor = self.decode_head(maps["scale8"], maps["scale16"], maps["scale32"])
        return {"logits": logits, **maps} if self.all_outputs else logits


class TopFormerFeatures(Network):
    """The backbone alone: injected maps at 1/8, 1/16 and 1/32 for somebody's own head."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.backbone = Backbone(config)
        initialize_convs(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> three maps [B, C', H / s, W / s]."""
        maps: dict[str, Tensor] = self.backbone(x)
        if self.all_outputs:
            return maps
        return maps["scale8"], maps["scale16"], maps["scale32"]


class TopFormerClassifier(Network):
    """The network of the ImageNet checkpoints: pyramid, transformer, global average pool, head.

    Source: BR-IDL/PaddleViT image_classification/TopFormer (its loader takes the official file
    strictly).
    """

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.tpm = TokenPyramid(config)
        self.ppa = PyramidPool(config.token_stride)
        self.trans = Transformer(sum(config.channels), config)
        self.pool = GlobalPool()
        self.head = BNLinear(sum(config.channels), config.num_classes)
        initialize_convs(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> logits [B, classes]."""
        tokens = self.trans(self.ppa(self.tpm(x)))
        logits: Tensor = self.head(self.pool(tokens))
        return {"logits": logits, "tokens": tokens} if self.all_outputs else logits


NETWORKS: Mapping[str, type[TopFormer | TopFormerFeatures | TopFormerClassifier]] = (
    MappingProxyType(
        {
            "segmentation": TopFormer,
            "features": TopFormerFeatures,
            "classification": TopFormerClassifier,
        }
    )
)


def build(card: ModelCard, config: Config, all_outputs: bool) -> Network:
    """The network of this card's task, at its random start."""
    return NETWORKS[card.task](config, all_outputs)
