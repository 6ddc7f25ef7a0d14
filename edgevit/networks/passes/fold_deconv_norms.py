"""Batch norms disappear into the transposed convolution before them."""

from itertools import pairwise

import torch
from torch import nn

from edgevit.networks.passes.fold_norms import affine


@torch.no_grad()
def fold_deconv_norms(model: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a transposed convolution in a Sequential.

    With s = gamma / sqrt(var + eps):
        W' = s * W (a factor an output channel, a transposed convolution's second dimension),
        b' = beta + s * (b - mean)
    Needs: one group. Leaves: identities in the norms' places.
    """
    for sequence in (m for m in model.modules() if isinstance(m, nn.Sequential)):
        for index, (deconv, norm) in enumerate(pairwise(list(sequence))):
            if (
                isinstance(deconv, nn.ConvTranspose2d)
                and isinstance(norm, nn.BatchNorm2d)
                and deconv.groups == 1
            ):
                scale, shift = affine(norm)
                deconv.weight.mul_(scale.reshape(1, -1, 1, 1))
                bias = shift if deconv.bias is None else shift + scale * deconv.bias
                deconv.bias = nn.Parameter(bias)
                sequence[index + 1] = nn.Identity()
    return model
