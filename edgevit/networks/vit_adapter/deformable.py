"""Multi-scale deformable attention with every size a Python int, so that it can be exported.

Source: Zhu et al., "Deformable DETR" (ICLR 2021), section 4.1; the computation is the official
fallback in plain torch, fundamentalvision/Deformable-DETR models/ops/functions/
ms_deform_attn_func.py, `ms_deform_attn_core_pytorch`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Grid = tuple[int, int]  # height, width


def reference_points(grids: tuple[Grid, ...]) -> Tensor:
    """Pixel centers of every grid, grid after grid: float32 [sum h * w, 2], x then y, 0 to 1."""
    points = []
    for height, width in grids:
        y = (torch.arange(height, dtype=torch.float32) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((columns.flatten(), rows.flatten()), dim=-1))
    return torch.cat(points)


class DeformableSampling(nn.Module):
    """Each query reads a few points of each level a head and mixes them; no parameters.

    A point lies at the query's own place plus an offset in pixels of the level it is read from.
    Between pixels the value is bilinear, outside the map it is zero.
    """

    reference: Tensor
    sizes: Tensor

    def __init__(
        self, heads: int, points: int, queries: tuple[Grid, ...], levels: tuple[Grid, ...]
    ) -> None:
        super().__init__()
        self.heads, self.points, self.levels = heads, points, levels
        sizes = torch.tensor([(float(w), float(h)) for h, w in levels for _ in range(points)])
        # Constants of the geometry, which no checkpoint holds.
        self.register_buffer("reference", reference_points(queries), persistent=False)
        self.register_buffer("sizes", sizes, persistent=False)  # [levels * points, 2]

    def forward(self, value: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
        """value [B, sum H * W, C], offsets [B, Q, heads * levels * points * 2] and logits of the
        weights [B, Q, heads * levels * points] -> [B, Q, C].
        """
        batch, queries, _ = offsets.shape
        width, rows, each = value.shape[-1], batch * self.heads, len(self.levels) * self.points
        # Half floats cannot tell neighboring places apart: as in the official code, places and
        # sums are float32 at least.
        exact = torch.promote_types(offsets.dtype, torch.float32)
        offsets = offsets.to(exact).reshape(batch, queries, self.heads, each, 2)
        places = self.reference.to(exact)[:, None, None] + offsets / self.sizes.to(exact)
        grid = (2 * places - 1).transpose(1, 2).reshape(rows, queries, each, 2)
        mix = weights.to(exact).reshape(batch, queries, self.heads, each).softmax(dim=-1)
        mix = mix.transpose(1, 2).reshape(rows, 1, queries, each)
        maps = torch.split(value.to(exact).transpose(1, 2), [h * w for h, w in self.levels], dim=2)
        sampled = [
            F.grid_sample(
                level.reshape(rows, width // self.heads, *size),
                places_in_level,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
            for level, size, places_in_level in zip(
                maps, self.levels, torch.split(grid, self.points, dim=2), strict=True
            )
        ]
        mixed = (torch.cat(sampled, dim=-1) * mix).sum(dim=-1)  # [B * heads, C / heads, Q]
        return mixed.reshape(batch, width, queries).transpose(1, 2).to(value.dtype)


class DeformableAttention(nn.Module):
    """Deformable attention from the tokens of `queries` to those of `levels`, official key names.

    `ratio` is ViT-Adapter's: the value is `ratio * dim` wide.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        points: int,
        ratio: float,
        queries: tuple[Grid, ...],
        levels: tuple[Grid, ...],
    ) -> None:
        super().__init__()
        each = heads * len(levels) * points
        self.sampling_offsets = nn.Linear(dim, each * 2)
        self.attention_weights = nn.Linear(dim, each)
        self.value_proj = nn.Linear(dim, int(dim * ratio))
        self.output_proj = nn.Linear(int(dim * ratio), dim)
        self.sampling = DeformableSampling(heads, points, queries, levels)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """query [B, Q, C], value [B, sum H * W, C] -> [B, Q, C]."""
        sampled = self.sampling(
            self.value_proj(value), self.sampling_offsets(query), self.attention_weights(query)
        )
        out: Tensor = self.output_proj(sampled)
        return out


def initialize_deformable(attention: DeformableAttention) -> None:
    """The official start: head k looks into direction 2 pi k / heads, its point p p + 1 pixels far
    (on a square, not a circle), and all points weigh the same.
    """
    sampling = attention.sampling
    angles = torch.arange(sampling.heads) * (2.0 * math.pi / sampling.heads)
    directions = torch.stack((angles.cos(), angles.sin()), dim=-1)
    directions = directions / directions.abs().amax(dim=-1, keepdim=True)
    steps = torch.arange(1.0, sampling.points + 1).reshape(1, 1, -1, 1)
    start = directions[:, None, None] * steps.expand(-1, len(sampling.levels), -1, -1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(start.flatten())
    nn.init.zeros_(attention.sampling_offsets.weight)
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    for projection in (attention.value_proj, attention.output_proj):
        nn.init.xavier_uniform_(projection.weight)
        nn.init.zeros_(projection.bias)
