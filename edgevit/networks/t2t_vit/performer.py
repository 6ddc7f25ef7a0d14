"""T2T-ViT's linear attention with its constants in one exponent, and in operations that XNNPACK
takes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.passes.explicit_norms import mean_of_last
from edgevit.networks.t2t_vit.network import PERFORMER_EPSILON, FeatureAttend


class ScaledFeatureAttend(nn.Module):
    """`FeatureAttend` on features so large that the 1e-8 of its denominator is 1."""

    keeps_fp32 = True  # exp leaves fp16's range

    def forward(self, k: Tensor, q: Tensor, v: Tensor, w: Tensor) -> Tensor:
        """Three [B, N, C] and the directions [m, C] -> [B, N, C]."""
        keys, queries = self.kernel(k, w).transpose(1, 2), self.kernel(q, w)
        total = torch.bmm(queries, self.sum(keys))
        # An integer 1 would be converted, outside of XNNPACK.
        return torch.bmm(queries, torch.bmm(keys, v)) / (total + 1.0)

    def kernel(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, m]."""
        factor = 1 / math.sqrt(w.shape[0] * PERFORMER_EPSILON)
        return torch.exp(F.linear(x, w) - (self.sum(x * x) * 0.5 - math.log(factor)))

    def sum(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, 1]."""
        return x.sum(dim=-1, keepdim=True)


class MeanFeatureAttend(ScaledFeatureAttend):
    """The same without sums, which XNNPACK does not take."""

    def sum(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N, 1]."""
        return mean_of_last(x) * float(x.shape[-1])


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


def means_for_sums(model: nn.Module) -> nn.Module:
    """Write the sums of linear attention as means: sum_n x_n = n mean(x).

    XNNPACK takes a mean in the form of a global average pool, and no sum. Needs: the scales of the
    features folded.
    """
    for name, module in list(model.named_modules()):
        if type(module) is ScaledFeatureAttend:
            model.set_submodule(name, MeanFeatureAttend())
    return model
