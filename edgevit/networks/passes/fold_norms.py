"""Batch norms disappear into the convolution before them, or into the linear layer after them."""

import torch
from torch import nn

from edgevit.networks.parts.layers import BNLinear, ConvBN, ConvModule


def fold_batch_norms(model: nn.Module) -> nn.Module:
    """Fold every batch norm in eval mode; one that was folded before has left an empty place.

    With s = gamma / sqrt(var + eps):
        after a convolution   W' = s * W (a factor an output channel),  b' = beta + s * (b - mean)
        before a linear layer W' = W * s (a factor an input column),    b' = b + W @ (beta - s *
        mean)
    """
    for module in model.modules():
        if isinstance(module, ConvBN) and isinstance(module.bn, nn.BatchNorm2d):
            module.c = _into_conv(module.c, module.bn)
            module.bn = nn.Identity()  # type: ignore[assignment]  # the norm's place stays, empty
        elif isinstance(module, ConvModule) and isinstance(module.bn, nn.BatchNorm2d):
            module.conv = _into_conv(module.conv, module.bn)
            module.bn = nn.Identity()
        elif isinstance(module, nn.Sequential):
            _within(module)
        elif isinstance(module, BNLinear) and isinstance(module.bn, nn.BatchNorm1d):
            module.l = _into_linear(module.bn, module.l)
            module.bn = nn.Identity()  # type: ignore[assignment]  # the same
    return model


def _within(sequence: nn.Sequential) -> None:
    """Fold each norm that follows a convolution directly."""
    for index in range(len(sequence) - 1):
        conv, norm = sequence[index], sequence[index + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            sequence[index], sequence[index + 1] = _into_conv(conv, norm), nn.Identity()


def affine(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """The norm as x -> scale * x + shift."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


@torch.no_grad()
def _into_conv(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    scale, shift = affine(norm)
    folded = conv_like(conv)
    folded.weight.copy_(conv.weight * scale.reshape(-1, 1, 1, 1))
    bias = shift if conv.bias is None else shift + scale * conv.bias
    assert folded.bias is not None
    folded.bias.copy_(bias)
    return folded


@torch.no_grad()
def _into_linear(norm: nn.BatchNorm1d, linear: nn.Linear) -> nn.Linear:
    scale, shift = affine(norm)
    folded = nn.Linear(linear.in_features, linear.out_features, dtype=linear.weight.dtype)
    folded.weight.copy_(linear.weight * scale)
    folded.bias.copy_(linear.bias + linear.weight @ shift)
    return folded


def conv_like(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution of the same geometry and dtype, with a bias."""
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # torch types it wider than it is
        conv.stride,  # type: ignore[arg-type]  # the same
        conv.padding,  # type: ignore[arg-type]  # the same
        groups=conv.groups,
        dtype=conv.weight.dtype,
    )
