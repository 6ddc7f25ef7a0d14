"""q, k and v from three projections instead of one and a split, where a split costs more."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.transformer import Attend, Attention, SelfAttention, Thirds


class FirstTokens(nn.Module):
    """The tokens before the others."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, count, C]."""
        return x[:, : self.count]


class Apart(nn.Module):
    """Three projections of the same tokens; queries perhaps of the first few alone."""

    def __init__(self, stacked: nn.Linear, queries: int | None = None) -> None:
        super().__init__()
        self.first = nn.Identity() if queries is None else FirstTokens(queries)
        self.q, self.k, self.v = (_third(stacked, index) for index in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, C] -> queries [B, N or fewer, C'], keys and values [B, N, C']."""
        return self.q(self.first(x)), self.k(x), self.v(x)


class Slices(nn.Module):
    """Three equal parts of the channels, a slice each."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, N, 3 * C] -> three [B, N, C]."""
        size = x.shape[-1] // 3
        return x[..., :size], x[..., size : 2 * size], x[..., 2 * size :]


def split_projections(model: nn.Module) -> nn.Module:
    """Three projections where one projection's output was cut into q, k and v.

    W x cut in three is W_q x, W_k x, W_v x. Where a convolution holds the projection, a slice
    each. XNNPACK takes slices and no split. Needs: nothing. Leaves: identities in the places of
    the splits.
    """
    for module in list(model.modules()):
        if isinstance(module, Attention) and isinstance(module.qkv, nn.Linear):
            set_apart(module)
    for name, module in list(model.named_modules()):
        if isinstance(module, Thirds):
            model.set_submodule(name, Slices())
    return model


def set_apart(attention: Attention, queries: int | None = None) -> None:
    """Give an attention three projections; `queries` first tokens ask, by default all."""
    apart = Apart(attention.qkv, queries)
    attention.qkv = apart  # type: ignore[assignment]  # the projection's place, all three in it
    attention.thirds = nn.Identity()  # type: ignore[assignment]  # nothing is left to cut


@torch.no_grad()
def _third(stacked: nn.Linear, index: int) -> nn.Linear:
    size = stacked.out_features // 3
    rows = slice(index * size, (index + 1) * size)
    third = nn.Linear(stacked.in_features, size, stacked.bias is not None)
    third.weight = nn.Parameter(stacked.weight[rows].clone())
    if stacked.bias is not None:
        third.bias = nn.Parameter(stacked.bias[rows].clone())
    return third


@torch.no_grad()
def fold_attention_scales(model: nn.Module) -> nn.Module:
    """Fold the scale of attention into the projection of its queries.

    softmax(s * q k^T) = softmax((s W_q x + s b_q) k^T). Where a part of the queries is another
    part rescaled, [W_q x, c * W_q x], W_q takes s too. Needs: nothing. Leaves: a scale of one.
    """
    for module in model.modules():
        if not isinstance(module, SelfAttention):
            continue
        if type(module.attend) is Attend and module.attend.scale != 1:
            scale, module.attend.scale = module.attend.scale, 1.0
            for linear, rows in module.query_rows():
                linear.weight[:rows].mul_(scale)
                if linear.bias is not None:
                    linear.bias[:rows].mul_(scale)
    return model
