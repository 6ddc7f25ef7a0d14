"""TopFormer's hard sigmoid becomes a clamp that a kernel fuses into the convolution before it."""

import torch
from torch import Tensor, nn

from edgevit.models.layers import HardSigmoid
from edgevit.models.topformer import InjectionMultiply, InjectionMultiSum
from edgevit.reparam.fold_norms import conv_like


class UnitClamp(nn.Module):
    """clip(x, 0, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return torch.clamp(x, 0.0, 1.0)


def fold_hard_sigmoids(model: nn.Module) -> nn.Module:
    """Fold the shift and the scale of each gate into its convolution.

    clip(Wx + b + 3, 0, 6) / 6 = clip(W'x + b', 0, 1) with W' = W / 6 and b' = (b + 3) / 6.
    Needs: batch norms folded. Leaves: UnitClamp in the place of HardSigmoid.
    """
    for module in model.modules():
        if isinstance(module, InjectionMultiSum):
            convolution = module.global_act
        elif isinstance(module, InjectionMultiply):
            convolution = module.fuse2
        else:
            continue
        if isinstance(module.gate, HardSigmoid):
            convolution.conv = _scaled(convolution.conv)
            module.gate = UnitClamp()  # type: ignore[assignment]  # the gate's place, another gate
    return model


@torch.no_grad()
def _scaled(conv: nn.Conv2d) -> nn.Conv2d:
    folded = conv_like(conv)
    assert conv.bias is not None
    assert folded.bias is not None
    folded.weight.copy_(conv.weight / 6)
    folded.bias.copy_((conv.bias + 3) / 6)
    return folded
