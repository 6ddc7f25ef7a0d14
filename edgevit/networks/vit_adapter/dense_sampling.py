"""Bilinear sampling as matrix products with constant shapes, wholly inside a delegate."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.sampling import PixelAttention, Table, deformables

# Numbers in the matrices of all heads. At 2 million (256 px) the products take 0.7 to 0.9 of the
# time of gathering, at 33 million (512 px) 1.6 times as much (XNNPACK on x86, 1 thread).
SMALL = 1 << 23
# Numbers in the matrix of one head, where heads are written one after another: 256 MiB.
LARGE = 1 << 26
MOST_GATHERED = 9  # each cuts the delegate's graph in two: ten pieces at most


class DenseAttention(PixelAttention):
    """Deformable attention whose sampling is a matrix [Q, H * W] a head and level.

    `together` heads are computed at once: a runtime then holds the matrices of no more than those.
    """

    one: Tensor

    def __init__(self, attention: DeformableAttention, together: int | None = None) -> None:
        super().__init__(attention)
        self.together = together or self.heads
        each, points = self.each, self.points
        pick = torch.eye(each, dtype=self.value_proj.weight.dtype)
        self.register_buffer("one", pick.new_ones(1, 1))
        self.to_columns, self.to_rows, self.to_weights = (nn.ModuleList() for _ in range(3))
        for level, (height, width) in enumerate(self.levels):
            chosen = pick[:, level * points : (level + 1) * points]  # [each, points]
            wide = chosen[:, :, None].expand(-1, -1, width).reshape(each, -1)
            high = chosen[:, None, :].expand(-1, height, -1).reshape(each, -1)
            i, j = (torch.arange(side, dtype=pick.dtype) for side in (height, width))
            self.to_columns.append(Table(wide, -j.repeat(points)))
            self.to_rows.append(Table(high, -i.repeat_interleave(points)))
            self.to_weights.append(Table(high))

    def hat(self, distance: Tensor) -> Tensor:
        """max(0, 1 - |distance|)."""
        return F.relu(self.one - distance.abs())

    def by_head(self, x: Tensor) -> Tensor:
        """[Q, heads * each] -> [heads * Q, each]."""
        x = x.reshape(self.queries, self.heads, self.each).transpose(0, 1)
        return x.reshape(-1, self.each)

    def sample(self, query: Tensor, value: Tensor) -> Tensor:
        """Query [Q, C] and projected value [sum H * W, heads * width] -> [Q, heads * width]."""
        x, y = (self.by_head(place) for place in self.places(query))
        mix = self.by_head(self.attention_weights(query)).softmax(dim=-1)
        value = value.reshape(-1, self.heads, self.width).transpose(0, 1)
        if self.together == self.heads:
            return self.read(x, y, mix, value).transpose(0, 1)
        read = []
        for head in range(0, self.heads, self.together):
            last = min(head + self.together, self.heads)
            rows = slice(head * self.queries, last * self.queries)
            read.append(self.read(x[rows], y[rows], mix[rows], value[head:last]))
        return torch.cat(read).transpose(0, 1)

    def read(self, x: Tensor, y: Tensor, mix: Tensor, value: Tensor) -> Tensor:
        """Places and weights [heads * Q, each] of some heads and their values [heads, sum H * W,
        width] -> [heads, Q, width].
        """
        heads, start, total = value.shape[0], 0, None
        batch = heads * self.queries
        parts = zip(self.levels, self.to_columns, self.to_rows, self.to_weights, strict=True)
        for (height, width), to_columns, to_rows, to_weights in parts:
            columns = self.hat(to_columns(x)).reshape(batch, self.points, width)
            rows = self.hat(to_rows(y)) * to_weights(mix)
            matrix = torch.bmm(rows.reshape(batch, height, self.points), columns)
            end = start + height * width
            level = value if len(self.levels) == 1 else value[:, start:end]
            read = torch.bmm(matrix.reshape(heads, self.queries, -1), level)
            total, start = read if total is None else total + read, end
        assert total is not None
        return total


def sample_by_products(model: nn.Module, example: Tensor) -> nn.Module:
    """Write small deformable attentions as matrix products.

    Bilinear sampling with zeros outside weighs pixel (i, j) of a map V by hats of its distance to
    the point (x_p, y_p), and points are mixed by weights a_p:
        sum_p a_p sum_ij hat(y_p - i) hat(x_p - j) V_ij = sum_ij M_ij V_ij,   hat(d) = max(0, 1-|d|)
        M_ij = sum_p (a_p hat(y_p - i)) hat(x_p - j):  a product [H, points] @ [points, W] a query,
    and then one product [Q, H * W] @ [H * W, C] a head. No point needs a test for the border: far
    hats are zero. x_p - j for all p, j is a product of x with a constant of zeros and ones, plus
    the bias -j. Costs heads * Q * H * W * (points + C / heads) multiplications. Needs: nothing.
    """
    for name, attention in deformables(model, example):
        if _numbers(attention) <= SMALL:
            model.set_submodule(name, DenseAttention(attention))
    return model


def bound_gathers(model: nn.Module, example: Tensor) -> nn.Module:
    """Write as products what deformable attentions there are beyond MOST_GATHERED, the first ones.

    The algebra is that of `sample_by_products`, one head after another: heads do not meet before
    the output's projection. An operation that a delegate leaves outside, on the only way through a
    network, cuts its graph in two. Where one head alone is beyond LARGE, the graph is cut once more
    instead.
    """
    found = deformables(model, example)
    payable = [(name, it) for name, it in found if _numbers(it) <= LARGE * it.sampling.heads]
    for name, attention in payable[: max(0, len(found) - MOST_GATHERED)]:
        model.set_submodule(name, DenseAttention(attention, together=1))
    return model


def _numbers(attention: DeformableAttention) -> int:
    sampling = attention.sampling
    pixels = sum(height * width for height, width in sampling.levels)
    return sampling.heads * len(sampling.reference) * pixels
