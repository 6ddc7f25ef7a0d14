"""T2T-ViT (ICCV 2021): image classification networks with the official key names.

Source: Yuan et al., "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet";
official code yitu-opensource/T2T-ViT, models/{t2t_vit,t2t_vit_se,t2t_vit_ghost,t2t_vit_dense,
token_performer,token_transformer,transformer_block}.py. Dropout and drop path are left out: they
act in training alone.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts import transformer
from edgevit.networks.parts.layers import Network
from edgevit.networks.parts.norm_readers import Reader, Reading, linear_layers
from edgevit.networks.parts.transformer import (
    Attend,
    MeanToken,
    Mlp,
    OneToken,
    Placed,
    SelfAttention,
    Thirds,
    first_layers,
)

Tokens = Literal["performer", "transformer"]
Structure = Literal["plain", "se", "ghost", "dense"]

STRIDE = 16  # of the final tokens, as the three soft splits' 4, 2 and 2 multiply
PERFORMER_EPSILON = 1e-8  # official token_performer.py; vanishes in fp16
EPS = 1e-5  # of the blocks' LayerNorms
GHOST_MLP_RATIO = 3  # the ghost MLP concatenates three maps, whatever ratio it is given


@dataclass(frozen=True, slots=True)
class Config:
    """One variant. `growth` and `stages` are the dense structure's: new channels a block, blocks a
    stage.
    """

    tokens: Tokens
    dim: int
    depth: int
    heads: int
    mlp_ratio: int
    structure: Structure = "plain"
    growth: int = 0
    stages: tuple[int, ...] = ()
    token_dim: int = 64
    num_classes: int = 1000
    grid: int = 14  # final tokens a side: the input's side / 16


# Paper, tables 1 and 2; official models/t2t_vit*.py, the registered functions at their ends.
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "7": Config("performer", 256, 7, 4, 2),
        "10": Config("performer", 256, 10, 4, 2),
        "12": Config("performer", 256, 12, 4, 2),
        "14": Config("performer", 384, 14, 6, 3),
        "19": Config("performer", 448, 19, 7, 3),
        "24": Config("performer", 512, 24, 8, 3),
        "t-14": Config("transformer", 384, 14, 6, 3),
        "t-19": Config("transformer", 448, 19, 7, 3),
        "t-24": Config("transformer", 512, 24, 8, 3),
        "14-resnext": Config("performer", 384, 14, 32, 3),
        "14-wide": Config("performer", 768, 4, 12, 3),
        "14-se": Config("performer", 384, 14, 6, 3, "se"),
        "16-ghost": Config("performer", 384, 16, 6, GHOST_MLP_RATIO, "ghost"),
        "dense": Config("performer", 128, 19, 8, 2, "dense", 64, (3, 6, 6, 4)),
        "micro": Config("performer", 128, 5, 2, 2, num_classes=9, grid=7),
    }
)


class SoftSplit(nn.Module):
    """Overlapping square patches as tokens, channels first within a token: c, row, column."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, H / stride * W / stride, C * kernel * kernel]."""
        patches = F.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        return patches.transpose(1, 2)


class FeatureAttend(nn.Module):
    """One head of linear attention by positive random features; no parameters.

    With phi(x) = exp(w x - |x|^2 / 2) / sqrt(m):
        y_t = phi(q_t) . sum_s phi(k_s) v_s^T / (phi(q_t) . sum_s phi(k_s) + 1e-8)
    """

    keeps_fp32 = True  # exp leaves fp16's range, and the 1e-8 vanishes in it

    def kernel(self, x: Tensor, w: Tensor) -> Tensor:
        """Random features: [B, N, C] -> [B, N, m]."""
        half_norm = (x * x).sum(dim=-1, keepdim=True) / 2
        out: Tensor = torch.exp(x @ w.transpose(0, 1) - half_norm) / math.sqrt(w.shape[0])
        return out

    def forward(self, k: Tensor, q: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Three [B, N, C] and the directions [m, C] -> [B, N, C]."""
        keys, queries = self.kernel(k, w), self.kernel(q, w)
        total = queries @ keys.sum(dim=1).unsqueeze(-1)
        return queries @ (keys.transpose(1, 2) @ v) / (total + PERFORMER_EPSILON)


class TokenPerformer(nn.Module):
    """`FeatureAttend`, then an MLP.

    The residual is v's, because widths differ. Keys, queries and values come in this order, and
    without the usual 1/sqrt(d). Source: official models/token_performer.py.
    """

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.kqv = nn.Linear(inputs, 3 * dim)
        self.thirds = Thirds()
        # Rows of random directions, drawn once and never trained.
        self.w = nn.Parameter(torch.empty(dim // 2, dim), requires_grad=False)
        self.attend = FeatureAttend()
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, patch] -> [B, N, C]."""
        k, q, v = self.thirds(self.kqv(self.norm1(x)))
        x = v + self.proj(self.attend(k, q, v, self.w))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def norm_readings(self) -> Iterator[Reading]:
        """The MLP's; the first norm goes with the soft split before it."""
        yield Reading("norm2", first_layers(self.mlp))


class TokenAttention(nn.Module):
    """One head of softmax attention that changes the width; the residual is v's.

    The scale is one over the square root of the INPUT width (147, 576), as the official code has
    it.
    """

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(inputs, 3 * dim, bias=False)
        self.thirds = Thirds()
        self.attend = Attend(1, inputs**-0.5)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, patch] -> [B, N, C]."""
        q, k, v = self.thirds(self.qkv(x))
        out: Tensor = v + self.proj(self.attend(q, k, v))
        return out


class TokenTransformer(nn.Module):
    """`TokenAttention`, then an MLP. Source: official models/token_transformer.py."""

    def __init__(self, inputs: int, dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(inputs)
        self.attn = TokenAttention(inputs, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, patch] -> [B, N, C]."""
        x = self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def norm_readings(self) -> Iterator[Reading]:
        """The MLP's; the first norm goes with the soft split before it."""
        yield Reading("norm2", first_layers(self.mlp))


class TokensToToken(nn.Module):
    """Three soft splits with token attention between them; tokens at 1/16."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        block = TokenPerformer if config.tokens == "performer" else TokenTransformer
        width = config.token_dim
        self.soft_split0 = SoftSplit(7, 4, 2)
        self.soft_split1 = SoftSplit(3, 2, 1)
        self.soft_split2 = SoftSplit(3, 2, 1)
        self.attention1 = block(3 * 7 * 7, width)
        self.attention2 = block(width * 3 * 3, width)
        self.project = nn.Linear(width * 3 * 3, config.dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, 3, H, W] -> maps [B, C, H / 4, W / 4] and [B, C, H / 8, W / 8], tokens
        [B, H / 16 * W / 16, D].
        """
        height, width = x.shape[-2] // 4, x.shape[-1] // 4
        fine = _as_map(self.attention1(self.soft_split0(x)), height, width)
        coarse = _as_map(self.attention2(self.soft_split1(fine)), height // 2, width // 2)
        return fine, coarse, self.project(self.soft_split2(coarse))


def _as_map(tokens: Tensor, height: int, width: int) -> Tensor:
    """[B, H * W, C] -> [B, C, H, W]."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, height, width)


class SqueezeExcite(nn.Module):
    """A gate a channel from the mean over all tokens, the class token included."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mean = MeanToken(keepdim=True)
        hidden = dim // 16
        self.fc = nn.Sequential(
            nn.Linear(dim, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, dim, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        out: Tensor = x * self.fc(self.mean(x))
        return out


class Attention(transformer.Attention):
    """Multi-head attention without bias in `qkv`; a `se_layer` may follow."""

    def __init__(self, dim: int, heads: int, squeeze: bool = False) -> None:
        super().__init__(dim, heads, bias=False)
        self.se_layer = SqueezeExcite(dim) if squeeze else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        out: Tensor = self.se_layer(super().forward(x))
        return out


class ChannelScale(nn.Module):
    """A factor a channel; the official code writes it as a depthwise 1x1 Conv1d without bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, 1))
        nn.init.uniform_(self.weight, -1, 1)  # what torch draws for such a convolution

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        return x * self.weight.reshape(-1)


class GhostAttention(SelfAttention):
    """Multi-head attention whose second half of q, k and v is the first half rescaled."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        half = dim // 2
        self.q = nn.Linear(dim, half, bias=False)
        self.k = nn.Linear(dim, half, bias=False)
        self.v = nn.Linear(dim, half, bias=False)
        self.cheap_operation_q = ChannelScale(half)
        self.cheap_operation_k = ChannelScale(half)
        self.cheap_operation_v = ChannelScale(half)
        self.attend = Attend(heads, (dim // heads) ** -0.5)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        q, k, v = self.q(x), self.k(x), self.v(x)
        q = torch.cat([q, self.cheap_operation_q(q)], dim=-1)
        k = torch.cat([k, self.cheap_operation_k(k)], dim=-1)
        v = torch.cat([v, self.cheap_operation_v(v)], dim=-1)
        out: Tensor = self.proj(self.attend(q, k, v))
        return out

    def query_rows(self) -> list[tuple[nn.Linear, int]]:
        """All rows of q: the second half of the queries is rescaled rows of the first."""
        return [(m, m.out_features) for m in linear_layers(self.q) if isinstance(m, nn.Linear)]

    def token_readers(self) -> list[Reader]:
        """The three half projections."""
        return [layer for part in (self.q, self.k, self.v) for layer in linear_layers(part)]


class GhostMlp(nn.Module):
    """An MLP whose hidden map is one projection and two rescaled copies of it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, dim)
        self.act = nn.GELU()
        self.cheap_operation2 = ChannelScale(dim)
        self.cheap_operation3 = ChannelScale(dim)
        self.fc2 = nn.Linear(GHOST_MLP_RATIO * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> the same shape."""
        first = self.act(self.fc1(x))
        copies = [self.act(self.cheap_operation2(first)), self.act(self.cheap_operation3(first))]
        out: Tensor = self.fc2(torch.cat([first, *copies], dim=-1))
        return out


class Block(transformer.Block):
    """A block of the structure that the configuration names."""

    def __init__(self, dim: int, config: Config) -> None:
        attention: Attention | GhostAttention
        mlp: Mlp | GhostMlp
        if config.structure == "ghost":
            attention, mlp = GhostAttention(dim, config.heads), GhostMlp(dim)
        else:
            attention = Attention(dim, config.heads, config.structure == "se")
            mlp = Mlp(dim, dim * config.mlp_ratio)
        super().__init__(dim, attention, mlp, EPS)


class DenseBlock(Block):
    """A block whose output, narrowed to the growth, is appended to its input's channels."""

    def __init__(self, dim: int, config: Config) -> None:
        super().__init__(dim, config)
        self.dense_linear = nn.Linear(dim, config.growth)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C + growth]."""
        return torch.cat([self.shortcut(x), self.dense_linear(super().forward(x))], dim=-1)


class Transition(nn.Module):
    """Linear, GELU: halves the channels between two dense stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, C / 2]."""
        out: Tensor = self.act(self.linear(x))
        return out


def _blocks(config: Config) -> tuple[list[nn.Module], int]:
    """The blocks, and the channels that leave them."""
    if config.structure != "dense":
        return [Block(config.dim, config) for _ in range(config.depth)], config.dim
    blocks: list[nn.Module] = []
    dim = config.dim
    for stage, count in enumerate(config.stages):
        if stage:
            blocks.append(Transition(dim, dim // 2))
            dim //= 2
        for _ in range(count):
            blocks.append(DenseBlock(dim, config))
            dim += config.growth
    return blocks, dim


class T2TViT(Network):
    """Tokens-to-token, a class token, fixed positions, transformer blocks, the class token's
    logits.
    """

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.tokens_to_token = TokensToToken(config)
        self.cls_token: nn.Parameter | None = nn.Parameter(torch.zeros(1, 1, config.dim))
        # Never trained, but in every official file.
        table = sinusoid_table(config.grid**2 + 1, config.dim)
        self.pos_embed: nn.Parameter | None = nn.Parameter(table, requires_grad=False)
        self.placed = Placed()
        blocks, dim = _blocks(config)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim)
        self.pool = OneToken()
        self.head = nn.Linear(dim, config.num_classes)
        self._initialize()

    def _initialize(self) -> None:
        """As the official `_init_weights` and Token_performer start them."""
        assert self.cls_token is not None
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, TokenPerformer):
                nn.init.orthogonal_(module.w, gain=math.sqrt(module.w.shape[0]))

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, S, S], normalized RGB, S the 16-fold of the configured grid -> logits
        [B, classes].

        All outputs: also `features` (the class token after the last norm, [B, D]), `tokens`
        ([B, N + 1, D], the class token first), `map4` and `map8`.
        """
        fine, coarse, tokens = self.tokens_to_token(x)
        tokens = self.placed(tokens, (self.cls_token,), self.pos_embed)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        features = self.pool(tokens)
        logits: Tensor = self.head(features)
        if not self.all_outputs:
            return logits
        return {
            "logits": logits,
            "features": features,
            "tokens": tokens,
            "map4": fine,
            "map8": coarse,
        }

    def norm_readings(self) -> Iterator[Reading]:
        """The classifier reads the last norm, where nothing else returns it."""
        if not self.all_outputs:
            yield Reading("norm", [self.head])


def sinusoid_table(positions: int, dim: int) -> Tensor:
    """The fixed position table, float32 [1, positions, dim]: angle = p / 10000^(2 (j // 2) / dim),
    sine on even j, cosine on odd j.

    Position 0 is the class token's; the others count the tokens row by row. Source: official
    models/transformer_block.py, `get_sinusoid_encoding`, which also works in float64 first.
    """
    exponents = torch.arange(dim, dtype=torch.float64) // 2 * 2 / dim
    angles = torch.arange(positions, dtype=torch.float64).unsqueeze(1) / 10000**exponents
    even = torch.arange(dim) % 2 == 0
    return torch.where(even, angles.sin(), angles.cos()).float().unsqueeze(0)


def build(card: ModelCard, config: Config, all_outputs: bool) -> Network:
    """The network of this card, at its random start."""
    network = T2TViT(config, all_outputs)
    network.input_shape = (1, 3, config.grid * STRIDE, config.grid * STRIDE)
    network.output_names = card.outputs
    return network
