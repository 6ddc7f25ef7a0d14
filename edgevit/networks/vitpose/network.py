"""ViTPose (NeurIPS 2022): a plain ViT and a small decoder to heatmaps, with the official key names.

Source: Xu et al., "ViTPose: Simple Vision Transformer Baselines for Human Pose Estimation" and
"ViTPose++" (TPAMI 2023); official code ViTAE-Transformer/ViTPose, mmpose/models/backbones/vit.py
and mmpose/models/heads/topdown_heatmap_simple_head.py. ViTPose+'s experts are folded in when a
checkpoint is loaded: for one data set its network is an ordinary ViTPose.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

from edgevit.networks.card import ModelCard
from edgevit.networks.parts.layers import Network, Resize, size_of
from edgevit.networks.parts.norm_readers import Reader, Reading
from edgevit.networks.parts.transformer import Attention, Block, Mlp, Placed

Decoder = Literal["classic", "simple"]

PATCH = 16
# The official patch convolution is padded (`padding = 4 + 2 * (ratio // 2 - 1)` at ratio 1), so it
# is no plain cut into patches.
PATCH_PADDING = 2
NORM_EPS = 1e-6
UPSAMPLE = 4  # of either decoder: heatmaps come at a quarter of the input


@dataclass(frozen=True, slots=True)
class Config:
    """One variant at one input size, which its position table depends on."""

    dim: int
    depth: int
    heads: int
    decoder: Decoder = "classic"
    deconv_channels: int = 256  # of the classic decoder
    mlp_ratio: int = 4
    num_classes: int = 17  # keypoints
    input_size: tuple[int, int] = (256, 192)  # height, width

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens down and across: the patch convolution's output size."""
        height, width = ((side + 2 * PATCH_PADDING) // PATCH for side in self.input_size)
        return height, width


# Paper, table 1; official configs/body/2d_kpt_sview_rgb_img/topdown_heatmap/coco/ViTPose_*.py. S
# has twelve heads of 32. Micro is ours.
CONFIGS: Mapping[str, Config] = MappingProxyType(
    {
        "s": Config(384, 12, 12),
        "b": Config(768, 12, 12),
        "l": Config(1024, 24, 16),
        "h": Config(1280, 32, 16),
        "s-simple": Config(384, 12, 12, "simple"),
        "b-simple": Config(768, 12, 12, "simple"),
        "l-simple": Config(1024, 24, 16, "simple"),
        "h-simple": Config(1280, 32, 16, "simple"),
        "plus-s": Config(384, 12, 12),
        "plus-b": Config(768, 12, 12),
        "plus-l": Config(1024, 24, 16),
        "plus-h": Config(1280, 32, 16),
        "micro": Config(96, 6, 3, deconv_channels=48, input_size=(128, 96)),
    }
)


class PatchEmbed(nn.Module):
    """The padded 16x16 convolution, child `proj`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH, PATCH_PADDING)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, D, h, w]."""
        out: Tensor = self.proj(x)
        return out


class Backbone(nn.Module):
    """Patches, positions, blocks and a last norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.grid = config.grid
        self.patch_embed = PatchEmbed(config.dim)
        # The first row belonged to the class token of the pre-training. There is no such token
        # here, but the official code adds its row to every token.
        tokens = config.grid[0] * config.grid[1]
        self.pos_embed: nn.Parameter | None = nn.Parameter(torch.zeros(1, 1 + tokens, config.dim))
        self.placed = Placed()
        dim, hidden = config.dim, config.mlp_ratio * config.dim
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, config.heads), Mlp(dim, hidden), NORM_EPS)
            for _ in range(config.depth)
        )
        self.last_norm = nn.LayerNorm(dim, NORM_EPS)

    def positions(self) -> Tensor | None:
        """What is added to every token, [1, N, D]: its own row and the class token's."""
        table = self.pos_embed
        return None if table is None else table[:, 1:] + table[:, :1]

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, D, h, w]."""
        x = self.patch_embed(x)
        x = self.placed(x.flatten(2).transpose(1, 2), (), self.positions())
        for block in self.blocks:
            x = block(x)
        x = self.last_norm(x)
        batch, _, dim = x.shape
        return x.transpose(1, 2).reshape(batch, dim, *self.grid)


class ClassicHead(nn.Module):
    """Twice a stride-2 deconvolution with batch norm and ReLU, then a 1x1 convolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.deconv_channels
        layers: list[nn.Module] = []
        for inputs in (config.dim, width):
            layers += [
                nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(width, config.num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> heatmaps [B, K, 4h, 4w]."""
        out: Tensor = self.final_layer(self.deconv_layers(x))
        return out

    def first_layers(self) -> list[Reader]:
        """What reads the map."""
        first = self.deconv_layers[0]
        return [first] if isinstance(first, nn.ConvTranspose2d) else []


class SimpleHead(nn.Module):
    """ReLU, bilinear by four, a 3x3 convolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.resize = Resize()
        self.final_layer = nn.Conv2d(config.dim, config.num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> heatmaps [B, K, 4h, 4w]."""
        height, width = size_of(x)
        x = self.resize(self.act(x), (UPSAMPLE * height, UPSAMPLE * width))
        out: Tensor = self.final_layer(x)
        return out

    def first_layers(self) -> list[Reader]:
        """What reads the map, through a ReLU and a resize."""
        return [self.final_layer]


class ViTPose(Network):
    """Keypoint heatmaps at a quarter of the input, raw: no sigmoid, no softmax."""

    def __init__(self, config: Config, all_outputs: bool = False) -> None:
        super().__init__()
        self.config = config
        self.all_outputs = all_outputs
        self.backbone = Backbone(config)
        head = ClassicHead if config.decoder == "classic" else SimpleHead
        self.keypoint_head: ClassicHead | SimpleHead = head(config)
        _initialize(self)

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """[B, 3, H, W], normalized RGB -> heatmaps [B, K, 4h, 4w], h and w being `config.grid`."""
        features = self.backbone(x)
        heatmaps: Tensor = self.keypoint_head(features)
        if self.all_outputs:
            return {"heatmaps": heatmaps, "features": features}
        return heatmaps

    def norm_readings(self) -> Iterator[Reading]:
        """The decoder's first convolution is padded, or has a ReLU before it: no shift passes."""
        if not self.all_outputs:
            yield Reading("backbone.last_norm", self.keypoint_head.first_layers(), shifts=False)


def _initialize(model: ViTPose) -> None:
    """The official start of the backbone (vit.py, `init_weights`), a He start of the decoder.

    mmpose starts the decoder at a standard deviation of 0.001. Without a training run's batch
    statistics such heatmaps lie near 1e-9, where no exported file can be compared with anything.
    """
    assert model.backbone.pos_embed is not None
    nn.init.trunc_normal_(model.backbone.pos_embed, std=0.02)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.ConvTranspose2d):
            # With stride 2 every output sees a quarter of the 4x4 taps.
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / (4 * module.in_channels)))
    final = model.keypoint_head.final_layer
    nn.init.normal_(final.weight, std=0.1 / math.sqrt(final.weight[0].numel()))
    if final.bias is not None:
        nn.init.zeros_(final.bias)


def build(card: ModelCard, config: Config, all_outputs: bool) -> Network:
    """The network of this configuration, at its random start."""
    return ViTPose(config, all_outputs)
