"""grid_sample's own units: its arithmetic on places folds into the projection of the offsets."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.sampling import deformables


class GridAttention(nn.Module):
    """Deformable attention by grid_sample, places ready from their projection. Batches of one."""

    centers: Tensor

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__()
        sampling = attention.sampling
        self.heads, self.points, self.levels = sampling.heads, sampling.points, sampling.levels
        self.each, self.queries = len(self.levels) * self.points, len(sampling.reference)
        self.sampling_offsets = attention.sampling_offsets
        self.attention_weights = attention.attention_weights
        self.value_proj = attention.value_proj
        self.output_proj = attention.output_proj
        weight = self.sampling_offsets.weight
        with torch.no_grad():
            factor = (2 / sampling.sizes.to(weight)).repeat(self.heads, 1).flatten()
            weight.mul_(factor[:, None])
            self.sampling_offsets.bias.mul_(factor)
        centers = 2 * sampling.reference.to(weight) - 1
        self.register_buffer("centers", centers.repeat(1, self.heads * self.each)[None])

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """[1, Q, C] and [1, sum H * W, C] -> [1, Q, C]."""
        heads, queries, points = self.heads, self.queries, self.points
        places = self.sampling_offsets(query) + self.centers
        places = places.reshape(queries, heads, self.each * 2).transpose(0, 1)
        mix = self.attention_weights(query).reshape(queries, heads, self.each).softmax(dim=-1)
        mix = mix.transpose(0, 1)
        value = self.value_proj(value)[0].transpose(0, 1)  # [heads * width, sum H * W]
        sampled, start = [], 0
        for level, (height, width) in enumerate(self.levels):
            end = start + height * width
            first, last = (2 * points * at for at in (level, level + 1))
            sampled.append(
                F.grid_sample(
                    value[:, start:end].reshape(heads, -1, height, width),
                    places[:, :, first:last].reshape(heads, queries, points, 2),
                    mode="bilinear",
                    padding_mode="zeros",
                    align_corners=False,
                )
            )
            start = end
        mixed = (torch.cat(sampled, dim=-1) * mix[:, None]).sum(dim=-1)  # [heads, width, Q]
        out: Tensor = self.output_proj(mixed.reshape(1, -1, queries).transpose(1, 2))
        return out


def fold_sampling_units(model: nn.Module, example: Tensor) -> nn.Module:
    """Fold grid_sample's units, -1 to 1 over a map, into the projection of the offsets.

    A point at the share r of a level of size s, W q + b pixels away:
        2 * (r + (W q + b) / s) - 1 = W' q + b' + (2 r - 1),   W' = 2 W / s,  b' = 2 b / s,
    with the constant 2 r - 1 a query. Needs: nothing.
    """
    for name, attention in deformables(model, example):
        model.set_submodule(name, GridAttention(attention))
    return model
