"""LayerNorm's scale and shift in the layers that read it."""

import torch
from torch import nn

from edgevit.reparam.norm_readers import ScaledNorm, norm_readers, read_scaled


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
