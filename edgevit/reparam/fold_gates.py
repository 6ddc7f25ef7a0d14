"""TopFormer's hard sigmoid becomes a ReLU6 that runtimes fuse into the convolution before it."""

import torch
from torch import nn

from edgevit.models.layers import ConvModule, HardSigmoid
from edgevit.models.topformer import InjectionMultiply, InjectionMultiSum


def fold_hard_sigmoids(model: nn.Module) -> nn.Module:
    """Fold the shift of each gate into its own convolution, its scale into the other factor's.

    local * up(clip(Wx + b + 3, 0, 6) / 6) = (local / 6) * up(clip(Wx + b', 0, 6)) with b' = b + 3,
    because a resize is linear; a ReLU on local lets a positive factor through. LiteRT's delegate
    takes ReLU6 and leaves a clip to 0..1 outside.
    Needs: batch norms folded. Leaves: ReLU6 in the place of HardSigmoid.
    """
    for module in model.modules():
        match module:
            case InjectionMultiSum(gate=HardSigmoid()):
                _fold(module.global_act, module.local_embedding)
            case InjectionMultiply(gate=HardSigmoid()):
                _fold(module.fuse2, module.fuse1)
            case _:
                continue
        module.gate = nn.ReLU6()  # type: ignore[assignment]  # the gate's place, another gate
    return model


@torch.no_grad()
def _fold(gate: ConvModule, factor: ConvModule) -> None:
    assert gate.conv.bias is not None
    assert factor.conv.bias is not None
    gate.conv.bias.add_(3)
    factor.conv.weight.div_(6)
    factor.conv.bias.div_(6)
