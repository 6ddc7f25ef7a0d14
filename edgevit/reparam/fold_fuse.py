"""The depthwise 1x1 fuse of TopFormer's head disappears into the injections before it."""

import torch
from torch import Tensor, nn

from edgevit.models.layers import ConvModule
from edgevit.models.topformer import Backbone, InjectionMultiSum, InjectionSum, SimpleHead


def fold_depthwise_fuse(model: nn.Module) -> nn.Module:
    """Fold a depthwise 1x1 convolution (a channel's scale a and shift b) through sums and resizes.

    a * (s8 + up(s16) + up(s32)) + b, where s = local * gate + up(embed) (or local + up(embed)), so
    with
        local' = a * local,  embed' = a * embed  at each of the three scales, and b added to embed'
        at 1/8,
    because a bilinear resize is linear and its weights sum to one. Only injections whose local and
    embed are linear (no ReLU of `muli_sum_cbr`) and that have an additive part (not `fuse_multi`)
    qualify; others keep the convolution. Needs: batch norms folded. Leaves: an identity where the
    convolution was; its ReLU stays.
    """
    backbones = [m for m in model.modules() if isinstance(m, Backbone)]
    heads = [m for m in model.modules() if isinstance(m, SimpleHead)]
    if not (backbones and heads):
        return model
    injections, fuse = list(backbones[0].SIM)[1:], heads[0].linear_fuse
    conv = fuse.conv
    if not isinstance(conv, nn.Conv2d) or conv.groups != conv.in_channels or conv.bias is None:
        return model
    pairs = [_linear_pair(injection) for injection in injections]
    if any(pair is None for pair in pairs):
        return model
    scale = conv.weight.detach().reshape(-1)
    for index, pair in enumerate(p for p in pairs if p is not None):
        local, embed = pair
        _rescale(local.conv, scale)
        _rescale(embed.conv, scale, conv.bias.detach() if index == 0 else None)
    fuse.conv = nn.Identity()  # type: ignore[assignment]  # the convolution's place stays, empty
    return model


def _linear_pair(injection: nn.Module) -> tuple[ConvModule, ConvModule] | None:
    """The local and the additive branch, where both are linear."""
    match injection:
        case InjectionMultiSum():
            pair = injection.local_embedding, injection.global_embedding
        case InjectionSum():
            pair = injection.fuse1, injection.fuse2
        case _:
            return None
    linear = all(isinstance(branch.act, nn.Identity) for branch in pair)
    return pair if linear else None


@torch.no_grad()
def _rescale(conv: nn.Conv2d, scale: Tensor, shift: Tensor | None = None) -> None:
    assert conv.bias is not None
    conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
    conv.bias.mul_(scale)
    if shift is not None:
        conv.bias.add_(shift)
