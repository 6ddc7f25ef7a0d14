"""TopFormer's attention in the shapes that mobile kernels take: 3-D products, q, k, v stacked."""

import torch
from torch import Tensor, nn

from edgevit.models.topformer import Attention


class StackedAttention(nn.Module):
    """TopFormer's attention with one projection, and the heads in the batch of 3-D products."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.proj = attention.heads, attention.proj
        convs = [attention.to_q.c, attention.to_k.c, attention.to_v.c]
        self.sizes = [conv.out_channels for conv in convs]
        self.qkv = _stacked(convs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        batch, _, height, width = x.shape
        groups, tokens = batch * self.heads, height * width
        parts = self.qkv(x).split(self.sizes, dim=1)
        q, k, v = (part.reshape(groups, -1, tokens) for part in parts)
        weights = torch.bmm(q.transpose(1, 2), k).softmax(dim=-1)
        mixed = torch.bmm(v, weights.transpose(1, 2))
        out: Tensor = self.proj(mixed.reshape(batch, -1, height, width))
        return out


def stack_attention(model: nn.Module) -> nn.Module:
    """Stack the three projections and fold the heads into the batch.

    [q; k; v] = [W_q; W_k; W_v] x + [b_q; b_k; b_v]; a head's rows of softmax(q^T k) v^T are the
    same product whether heads are a fourth dimension or part of the first. Needs: batch norms
    folded.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Attention):
            model.set_submodule(name, StackedAttention(module))
    return model


@torch.no_grad()
def _stacked(convs: list[nn.Conv2d]) -> nn.Conv2d:
    first = convs[0]
    outputs = sum(conv.out_channels for conv in convs)
    stacked = nn.Conv2d(first.in_channels, outputs, 1, dtype=first.weight.dtype)
    stacked.weight.copy_(torch.cat([conv.weight for conv in convs]))
    biases = [conv.bias for conv in convs if conv.bias is not None]
    assert stacked.bias is not None
    stacked.bias.copy_(torch.cat(biases))
    return stacked
