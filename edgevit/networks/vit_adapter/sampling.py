"""Deformable attention with its points in pixels: what the forms without grid_sample share."""

from torch import Tensor, nn

from edgevit.networks.vit_adapter.deformable import DeformableAttention


class PixelAttention(nn.Module):
    """Deformable attention's projections, with the columns and the rows of its points apart.

    A point's place in pixels of its level is `offset + center`, where a query at the share r of a
    level of w columns has center = r * w - 0.5: (r + offset / w) * w - 0.5. Batches of one.
    """

    column_centers: Tensor
    row_centers: Tensor

    def __init__(self, attention: DeformableAttention) -> None:
        super().__init__()
        sampling = attention.sampling
        self.heads, self.points, self.levels = sampling.heads, sampling.points, sampling.levels
        self.each = len(self.levels) * self.points  # points of a query and head
        self.queries = len(sampling.reference)
        self.width = attention.value_proj.out_features // self.heads
        # Under the name of what they are parts of, by which patterns of float layers find them.
        self.sampling_offsets = nn.ModuleDict(
            {
                "columns": _every_second(attention.sampling_offsets, 0),
                "rows": _every_second(attention.sampling_offsets, 1),
            }
        )
        self.attention_weights = attention.attention_weights
        self.value_proj = attention.value_proj
        self.output_proj = attention.output_proj
        reference = sampling.reference.to(self.value_proj.weight)
        for name, axis, sizes in (
            ("column_centers", 0, [w for _, w in self.levels]),
            ("row_centers", 1, [h for h, _ in self.levels]),
        ):
            self.register_buffer(name, reference[:, axis : axis + 1] * self.a_point(sizes) - 0.5)

    def a_point(self, levels: list[int]) -> Tensor:
        """A number a level -> a number a point: [1, 1] with one level, [1, heads * each] with
        more.
        """
        values = self.value_proj.weight.new_tensor(levels)
        if len(levels) == 1:
            return values.reshape(1, 1)
        return values.repeat_interleave(self.points).repeat(self.heads).reshape(1, -1)

    def places(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """[Q, C] -> column and row of every point, [Q, heads * each] each."""
        offsets = self.sampling_offsets
        columns, rows = offsets["columns"](query), offsets["rows"](query)
        return columns + self.column_centers, rows + self.row_centers

    def sample(self, query: Tensor, value: Tensor) -> Tensor:
        """Query [Q, C] and projected value [sum H * W, heads * width] -> [Q, heads * width]."""
        raise NotImplementedError

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """[1, Q, C] and [1, sum H * W, C] -> [1, Q, C]."""
        rows = self.value_proj(value.reshape(-1, value.shape[-1]))
        sampled = self.sample(query.reshape(self.queries, -1), rows)
        out: Tensor = self.output_proj(sampled.reshape(1, self.queries, -1))
        return out


def deformables(model: nn.Module, example: Tensor) -> list[tuple[str, DeformableAttention]]:
    """The deformable attentions with their names, in the order of the forward; none in a batch of
    more than one.
    """
    if example.shape[0] != 1:
        return []
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, DeformableAttention)
    ]


class Table(nn.Linear):
    """x -> x @ matrix + bias, matrix [inputs, outputs]: a product that every delegate takes.

    Not a layer of the network but of its geometry, and of a class of its own for that: what reads
    places in pixels is integer in no precision (a step of 8 bits over a map of 64 is a quarter of a
    pixel).
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None) -> None:
        inputs, outputs = matrix.shape
        super().__init__(inputs, outputs, bias=bias is not None, dtype=matrix.dtype)
        self.weight = nn.Parameter(matrix.T.contiguous(), requires_grad=False)
        if bias is not None:
            self.bias = nn.Parameter(bias, requires_grad=False)


def _every_second(linear: nn.Linear, start: int) -> nn.Linear:
    weight, bias = linear.weight.detach()[start::2], linear.bias.detach()[start::2]
    half = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    half.weight = nn.Parameter(weight.clone(), requires_grad=False)
    half.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return half
