"""ViT (ICLR 2021): the image classifier, with timm's key names.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", section 3.1 and table 1; official code google-research/vision_transformer,
vit_jax/models_vit.py. The distilled variant is DeiT's (Touvron et al., "Training data-efficient
image transformers & distillation through attention", section 4), mean pooling with its own norm
MAE's (He et al., appendix A.1). The module tree carries timm's names, which DeiT and MAE share.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts.layers import Network
from edgevit.networks.parts.norm_readers import Reading, linear_layers
from edgevit.networks.parts.transformer import Attention, Block, MeanToken, Mlp, OneToken, Placed

Pool = Literal["token", "mean"]


@dataclass(frozen=True, slots=True)
class Config:
    """One network: the variant's widths, the fixed input, and what a checkpoint's keys tell."""

    patch: int  # px a side
    dim: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    num_classes: int = 1000
    input_size: tuple[int, int] = (224, 224)
    eps: float = 1e-6  # of every LayerNorm: flax's default and timm's; transformers has 1e-12
    cls_token: bool = True
    dist_token: bool = False  # DeiT's second token
    dist_head: bool = False  # its classifier; the logits are the mean of both
    pool: Pool = "token"  # what is classified: the class token, or the mean of the patches
    norm_after_pool: bool = False  # MAE's `fc_norm` in place of `norm`
    representation: int | None = None  # width of a tanh layer before the classifier

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.input_size[0] // self.patch, self.input_size[1] // self.patch

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return int(self.cls_token) + int(self.dist_token)


# Paper, table 1 (B, L, H); official vit_jax/configs/models.py (Ti, S and the patch sizes).
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "tiny-16": Config(16, 192, 12, 3),
        "small-16": Config(16, 384, 12, 6),
        "small-32": Config(32, 384, 12, 6),
        "base-8": Config(8, 768, 12, 12),
        "base-16": Config(16, 768, 12, 12),
        "base-32": Config(32, 768, 12, 12),
        "large-16": Config(16, 1024, 24, 16),
        "large-32": Config(32, 1024, 24, 16),
        "huge-14": Config(14, 1280, 32, 16),
        "micro": Config(16, 96, 6, 3),  # ours: 49 tokens at 112 px, to be trained on a laptop
    }
)


class PatchEmbed(nn.Module):
    """One token a patch: a convolution whose stride is its kernel."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, H / patch * W / patch, D], row by row."""
        out: Tensor = self.proj(x)
        return out.flatten(2).transpose(1, 2)


class PreLogits(nn.Module):
    """The tanh layer that the original ImageNet-21k networks have before their classifier."""

    def __init__(self, dim: int, representation: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, representation)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, R]."""
        return torch.tanh(self.fc(x))


class VisionTransformer(Network):
    """Patches, learned positions, pre-norm blocks, and a linear classifier."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        dim, tokens = config.dim, config.prefix + config.grid[0] * config.grid[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.cls_token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim)) if config.dist_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
        self.patch_embed = PatchEmbed(dim, config.patch)
        self.placed = Placed()
        hidden = config.mlp_ratio * dim
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, config.heads), Mlp(dim, hidden), config.eps)
            for _ in range(config.depth)
        )
        norm = nn.LayerNorm(dim, config.eps)
        self.norm = nn.Identity() if config.norm_after_pool else norm
        self.fc_norm = norm if config.norm_after_pool else nn.Identity()
        self.pool = OneToken() if config.pool == "token" else MeanToken(config.prefix)
        self.second = OneToken(1)
        width = config.representation or dim
        self.pre_logits = PreLogits(dim, width) if config.representation else nn.Identity()
        self.head = nn.Linear(width, config.num_classes)
        self.head_dist = nn.Linear(width, config.num_classes) if config.dist_head else None
        initialize(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> logits [B, classes].

        With all outputs also `tokens` [B, prefix + patches, D] after the last norm, `features`
        [B, D or R] that the classifier reads, `block0` and on, each [B, prefix + patches, D].
        """
        x = self.patch_embed(x)
        x = self.placed(x, (self.cls_token, self.dist_token), self.pos_embed)
        maps = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            maps[f"block{index}"] = x
        tokens = self.norm(x)
        features = self.pre_logits(self.fc_norm(self.pool(tokens)))
        logits: Tensor = self.head(features)
        if self.head_dist is not None:
            logits = (logits + self.head_dist(self.second(tokens))) / 2
        if self.all_outputs:
            return {"logits": logits, "features": features, "tokens": tokens, **maps}
        return logits

    def norm_readings(self) -> Iterator[Reading]:
        """Of both places of the last norm the one that is used lies before the other, and before
        the classifier.
        """
        if not self.all_outputs and self.head_dist is None:
            readers = linear_layers(self.pre_logits) or [self.head]
            yield Reading("norm", readers)
            yield Reading("fc_norm", readers)


def initialize(model: nn.Module) -> None:
    """Glorot's uniform weights in the blocks, q, k and v each for itself; LeCun's in the patch
    kernel; tables, tokens and classifiers of deviation 0.02; biases at zero.

    Source: google-research/vision_transformer, vit_jax/models_vit.py (flax's own defaults where it
    names none). Its class token and classifier start at zero, which a random network cannot show.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_token", "dist_token", "pos_embed")):
            nn.init.trunc_normal_(parameter, std=0.02)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            if name.startswith("head"):
                nn.init.trunc_normal_(module.weight, std=0.02)
            else:
                inputs = module.in_features
                outputs = inputs if name.endswith("attn.qkv") else module.out_features
                bound = math.sqrt(6 / (inputs + outputs))
                nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=math.sqrt(1 / fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build(card: ModelCard, config: Config, all_outputs: bool) -> Network:
    """The network of this card at its random start."""
    network = VisionTransformer(config, all_outputs)
    network.input_shape = (1, 3, *config.input_size)
    network.output_names = card.outputs
    return network
