"""Plain attention as products of three dimensions and a softmax, for every delegate to take."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.transformer import Attend


class ExplicitAttend(nn.Module):
    """softmax(scale * q k^T) v with the heads in the batch."""

    def __init__(self, heads: int, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, Q, C], [B, N, C] and [B, N, C'] -> [B, Q, C']."""
        batch, queries, _ = q.shape
        if self.scale != 1:
            q = q * self.scale
        q, k, v = self._by_head(q), self._by_head(k), self._by_head(v)
        weights = torch.bmm(q, k.transpose(1, 2)).softmax(dim=-1)
        mixed = torch.bmm(weights, v).reshape(batch, self.heads, queries, -1)
        return mixed.transpose(1, 2).reshape(batch, queries, -1)

    def _by_head(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B * heads, N, C / heads]."""
        batch, tokens, width = x.shape
        if self.heads == 1:
            return x
        apart = x.reshape(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
        return apart.reshape(batch * self.heads, tokens, -1)


def explicit_attend(model: nn.Module) -> nn.Module:
    """Write attention out, its heads in the batch of 3-D products.

    A head's rows of softmax(s q k^T) v are the same product whether heads are a dimension of their
    own or part of the batch. torch's decomposition of its fused attention scales q and k by the
    root of s each, and on XNNPACK guards against rows that are masked whole, which takes six
    operations a head outside of the delegate.
    """
    for name, module in list(model.named_modules()):
        if type(module) is Attend:
            model.set_submodule(name, ExplicitAttend(module.heads, module.scale))
    return model
