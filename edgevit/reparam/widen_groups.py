"""TopFormer's injections read all tokens through zero columns, so that nothing has to be split."""

import torch
from torch import Tensor, nn

from edgevit.models.layers import ConvModule
from edgevit.models.topformer import (
    Backbone,
    InjectionMultiply,
    InjectionMultiSum,
    InjectionSum,
    TokenGroups,
)


class AllTokens(nn.Module):
    """Gives every scale the whole token map."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """[B, C, h, w] -> the same map four times."""
        return (tokens,) * 4


def widen_token_groups(model: nn.Module) -> nn.Module:
    """Pad each semantic convolution with zero columns for the other scales' channels.

    W G_i = [0 .. W .. 0] [G_1; G_2; G_3; G_4]. It multiplies some zeros on the smallest map of the
    network (49 tokens at 448x448) and keeps XNNPACK's graph in one piece, because XNNPACK takes no
    uneven split.
    """
    for module in model.modules():
        if isinstance(module, Backbone) and isinstance(module.groups, TokenGroups):
            channels = module.groups.channels
            for index in range(1, len(channels)):
                before = sum(channels[:index])
                for branch in _semantic(module.SIM[index]):
                    branch.conv = _widened(branch.conv, before, sum(channels))
            module.groups = AllTokens()  # type: ignore[assignment]  # the split's place
    return model


def _semantic(injection: nn.Module) -> tuple[ConvModule, ...]:
    match injection:
        case InjectionMultiSum():
            return injection.global_embedding, injection.global_act
        case InjectionSum() | InjectionMultiply():
            return (injection.fuse2,)
    raise TypeError(f"{type(injection).__name__} is no injection")


@torch.no_grad()
def _widened(conv: nn.Conv2d, before: int, total: int) -> nn.Conv2d:
    wide = nn.Conv2d(total, conv.out_channels, 1, dtype=conv.weight.dtype)
    wide.weight.zero_()
    wide.weight[:, before : before + conv.in_channels].copy_(conv.weight)
    assert conv.bias is not None
    assert wide.bias is not None
    wide.bias.copy_(conv.bias)
    return wide
