"""Layer scales disappear into the projection before them."""

import torch
from torch import Tensor, nn

from edgevit.models.deformable import DeformableAttention
from edgevit.models.vit_adapter import Block, Injector


def fold_layer_scales(model: nn.Module) -> nn.Module:
    """Fold a branch's factor a channel into the linear layer that ends the branch.

    x + gamma * (W h + b) = x + W' h + b' with W' = gamma * W (a factor an output channel), b' =
    gamma * b. Needs: nothing. Leaves: None where the factor was.
    """
    for module in model.modules():
        match module:
            case Block():
                _fold(module, "gamma1", module.attn.proj)
                _fold(module, "gamma2", module.mlp.fc2)
            case Injector(attn=DeformableAttention() as attention):
                _fold(module, "gamma", attention.output_proj)
    return model


@torch.no_grad()
def _fold(branch: nn.Module, name: str, linear: nn.Module) -> None:
    scale: Tensor | None = getattr(branch, name)
    if scale is None:
        return
    assert isinstance(linear, nn.Linear)
    linear.weight.mul_(scale[:, None])
    linear.bias.mul_(scale)
    setattr(branch, name, None)
