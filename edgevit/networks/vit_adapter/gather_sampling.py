"""Bilinear sampling as one gathering of rows, for runtimes whose grid_sample is slow or missing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.sampling import PixelAttention, Table, deformables

EXACT = 1 << 24  # float32 holds every whole number up to here


class GatheredAttention(PixelAttention):
    """Deformable attention that reads the four pixels around a point as one row of a table."""

    widths: Tensor
    heights: Tensor
    last_columns: Tensor
    last_rows: Tensor
    a_row: Tensor
    a_column: Tensor
    first: Tensor

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__(attention)
        heights, widths = ([size[axis] for size in self.levels] for axis in (0, 1))
        starts = [0]
        for height, width in self.levels:
            starts.append(starts[-1] + (height + 1) * (width + 1))
        # Of the table's row (level, i + 1, j + 1, head); the levels' maps have a border of zeros.
        first = self.a_point([start + w + 2 for start, w in zip(starts, widths, strict=False)])
        head = torch.arange(self.heads).repeat_interleave(self.each).to(first)
        for name, value in (
            ("widths", self.a_point(widths)),
            ("heights", self.a_point(heights)),
            ("last_columns", self.a_point([w - 1 for w in widths])),
            ("last_rows", self.a_point([h - 1 for h in heights])),
            ("a_row", self.a_point([(w + 1) * self.heads for w in widths])),
            ("a_column", first.new_full((1, 1), self.heads)),
            ("first", first * self.heads + head),
        ):
            self.register_buffer(name, value)
        # Corner (u, v) of a cell weighs |1 - u - dy| * |1 - v - dx|: affine in what is left of the
        # place after the floor. The products repeat each number for its four corners.
        repeat = torch.eye(self.each, dtype=first.dtype).repeat_interleave(4, dim=1)
        v = first.new_tensor([0, 1, 0, 1]).repeat(self.each)
        u = first.new_tensor([0, 0, 1, 1]).repeat(self.each)
        self.to_columns = Table(repeat * (2 * v - 1), 1 - v)
        self.to_rows = Table(repeat * (2 * u - 1), 1 - u)
        self.to_weights = Table(repeat)

    def table(self, value: Tensor) -> Tensor:
        """[sum H * W, heads * width] -> [cells * heads, 4 * width]."""
        cells, start = [], 0
        for height, width in self.levels:
            end = start + height * width
            level = value if len(self.levels) == 1 else value[start:end]
            padded = F.pad(level.reshape(height, width, -1), (0, 0, 1, 1, 1, 1))
            corners = [
                padded[i : i + height + 1, j : j + width + 1].reshape(-1, self.width)
                for i in (0, 1)
                for j in (0, 1)
            ]
            cells.append(torch.cat(corners, dim=1))
            start = end
        return torch.cat(cells) if len(cells) > 1 else cells[0]

    def sample(self, query: Tensor, value: Tensor) -> Tensor:
        """Query [Q, C] and projected value [sum H * W, heads * width] -> [Q, heads * width]."""
        x, y = self.places(query)
        x = torch.minimum(x.clamp(min=-1), self.widths)
        y = torch.minimum(y.clamp(min=-1), self.heights)
        column = torch.minimum(x.floor(), self.last_columns)
        row = torch.minimum(y.floor(), self.last_rows)
        index = row * self.a_row + column * self.a_column + self.first
        read = F.embedding(index.to(torch.int64), self.table(value))
        mix = self.attention_weights(query).reshape(-1, self.each).softmax(dim=-1)
        weights = (
            self.to_weights(mix)
            * self.to_columns((x - column).reshape(-1, self.each))
            * self.to_rows((y - row).reshape(-1, self.each))
        )
        # Views, where an unsqueeze in the middle would be left outside of XNNPACK.
        weights = weights.reshape(-1, 1, 4 * self.each)
        return torch.bmm(weights, read.reshape(-1, 4 * self.each, self.width))


def sample_by_rows(model: nn.Module, example: Tensor) -> nn.Module:
    """Write deformable attentions as one gathering of rows each.

    A point (x, y) lies in the cell of corners (i + u, j + v), i = floor(y), j = floor(x), which
    weigh |1 - u - (y - i)| * |1 - v - (x - j)|. A table holds for every cell and head the values of
    its four corners side by side, so that one row is read a point:
        sum_p a_p sum_uv w_puv V[i_p + u, j_p + v] = w [1, 4 * points] @ rows [4 * points, C].
    Zeros outside: maps get a border of zeros, and places are clamped to it, -1 <= x <= W, where all
    that is read is zero; the last cell begins at W - 1. Row numbers are computed as floats, exact
    below 2^24; larger tables leave the attention as it is. Needs: nothing.
    """
    for name, attention in deformables(model, example):
        levels, heads = attention.sampling.levels, attention.sampling.heads
        if heads * sum((height + 1) * (width + 1) for height, width in levels) < EXACT:
            model.set_submodule(name, GatheredAttention(attention))
    return model
