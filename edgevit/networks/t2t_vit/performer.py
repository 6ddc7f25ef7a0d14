"""T2T-ViT's linear attention with its constants in one exponent."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.t2t_vit.network import PERFORMER_EPSILON, FeatureAttend


class ScaledFeatureAttend(nn.Module):
    """`FeatureAttend` on features so large that the 1e-8 of its denominator is 1."""

    keeps_fp32 = True  # exp leaves fp16's range

    def forward(self, k: Tensor, q: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Three [B, N, C] and the directions [m, C] -> [B, N, C]."""
        keys, queries = self.kernel(k, w).transpose(1, 2), self.kernel(q, w)
        total = torch.bmm(queries, keys.sum(dim=-1, keepdim=True))
        # An integer 1 would be converted, outside of XNNPACK.
        return torch.bmm(queries, torch.bmm(keys, v)) / (total + 1.0)

    def kernel(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, m]."""
        factor = 1 / math.sqrt(w.shape[0] * PERFORMER_EPSILON)
        directed = F.linear(x, w)
        squares = (x * x).sum(dim=-1, keepdim=True)
        return torch.exp(directed - (squares * 0.5 - math.log(factor)))


def fold_feature_scales(model: nn.Module) -> nn.Module:
    """Fold the constants of linear attention into the exponent of its features.

    With phi'(x) = exp(w x - |x|^2 / 2 + log(1 / sqrt(m e))) = phi(x) / sqrt(e) and e = 1e-8,
        phi(q) (phi(K)^T V) / (phi(q) . sum phi(k) + e)
            = phi'(q) (phi'(K)^T V) / (phi'(q) . sum phi'(k) + 1)
    ONNX's optimizer (onnxscript's) takes + 1e-8 for + 0 and drops it; where all features are small,
    the sum is of this size and the file computes something else.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, FeatureAttend):
            model.set_submodule(name, ScaledFeatureAttend())
    return model
