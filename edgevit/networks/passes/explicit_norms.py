"""LayerNorm and means over tokens in operations that XNNPACK takes."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import ScaledNorm, norm_readers, read_scaled
from edgevit.networks.parts.transformer import MeanToken


class ExplicitNorm(nn.Module):
    """LayerNorm over the last dimension as two means of the last two dimensions of a 4-D view."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        affine = norm.elementwise_affine
        self.weight = nn.Parameter(norm.weight.detach().clone()) if affine else None
        bias = norm.bias if affine else None
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> the same shape."""
        x = x - mean_of_last(x)
        x = x * torch.rsqrt(mean_of_last(x * x) + self.eps)
        if self.weight is not None:
            x = x * self.weight
        return x if self.bias is None else x + self.bias


def mean_of_last(x: Tensor) -> Tensor:
    """[..., C] -> [..., 1]: the one form of a mean that XNNPACK takes."""
    mean = x.reshape(1, -1, x.shape[-1], 1).mean(dim=(-2, -1), keepdim=True)
    return mean.reshape(*x.shape[:-1], 1)


class ExplicitMeanToken(nn.Module):
    """`MeanToken` in the same form."""

    def __init__(self, mean: MeanToken) -> None:
        super().__init__()
        self.skipped, self.keepdim = mean.skipped, mean.keepdim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, C], or [B, 1, C] with `keepdim`."""
        tokens = x[:, self.skipped :] if self.skipped else x
        mean = mean_of_last(tokens.transpose(1, 2))
        return mean.reshape(mean.shape[0], 1, -1) if self.keepdim else mean.flatten(1)


@torch.no_grad()
def fold_norm_affines(model: nn.Module) -> nn.Module:
    """Fold LayerNorm's scale and shift into the linear layers that read it.

    W (gamma * n + beta) + b = (W * gamma) n + (b + W beta), a factor an input column; a reader of
    several tokens side by side repeats gamma and beta. Needs: attention with its projections as
    linear layers. Leaves: norms without scale and shift, biases in their readers; norms that were
    scaled for integers, and those that a convolution reads, as they are.
    """
    for place in norm_readers(model):
        linear = all(isinstance(reader, nn.Linear) for reader in place.readers)
        if linear and not isinstance(place.norm, ScaledNorm):
            for reader in place.readers:
                read_scaled(reader, place.norm.weight, place.norm.bias)
            norm = place.norm
            plain = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
            place.holder.set_submodule(place.name, plain)
    return model


def explicit_norms(model: nn.Module) -> nn.Module:
    """Write out every LayerNorm over one dimension, and every mean over tokens.

    norm(x) = (x - mean x) / sqrt(mean (x - mean x)^2 + eps) * gamma + beta, as it is defined. A
    mean over dimensions -2 and -1 of [1, rows, C, 1] is XNNPACK's global average pool; it has no
    LayerNorm and no other mean.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
            model.set_submodule(name, ExplicitNorm(module))
        elif isinstance(module, MeanToken):
            model.set_submodule(name, ExplicitMeanToken(module))
    return model
