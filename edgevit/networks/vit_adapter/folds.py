"""Constants, scales and norms of ViT-Adapter disappear into its convolutions and linear layers."""

import torch
from torch import Tensor, nn

from edgevit.networks.passes.fold_norms import affine
from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.network import (
    AddResized,
    Backbone,
    Block,
    Injector,
    ViTAdapterUperNet,
)


class FixedPositions(nn.Module):
    """The table of one size."""

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table)

    def forward(self, _: None) -> Tensor:
        """-> [1, tokens, C]."""
        return self.table


@torch.no_grad()
def fix_positions(model: nn.Module) -> nn.Module:
    """Compute the position table once, and fold each level's embedding into its projection.

    positions(pos_embed) is a function of weights alone, so a constant at a fixed size;
    (W x + b) + e_l = W x + (b + e_l) for the 1x1 convolution of level l. Needs: nothing. Leaves:
    None where the two parameters were.
    """
    for module in model.modules():
        if not isinstance(module, Backbone):
            continue
        if module.pos_embed is not None:
            table = module.positions(module.pos_embed).contiguous()
            module.positions = FixedPositions(table)  # type: ignore[assignment]  # its place
            module.pos_embed = None
        if module.level_embed is not None:
            projections = (module.spm.fc2, module.spm.fc3, module.spm.fc4)
            for conv, embedding in zip(projections, module.level_embed, strict=True):
                assert conv.bias is not None
                conv.bias.add_(embedding)
            module.level_embed = None
    return model


class AddScaled(AddResized):
    """A map and another one, scaled a channel, at its size."""

    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.reshape(-1, 1, 1))

    def forward(self, x: Tensor, added: Tensor) -> Tensor:
        """[B, C, H, W] and [B, C, h, w] -> [B, C, H, W]."""
        return super().forward(x, added * self.scale)


@torch.no_grad()
def fold_map_norms(model: nn.Module) -> nn.Module:
    """Fold the norm of the finest map into its three summands, and those of the next two into
    UperNet's laterals.

    With s = gamma / sqrt(var + eps) and t = beta - s * mean,
        s * (up(c2) + fc1(c1) + resize(v)) + t = up'(c2) + fc1'(c1) + resize(s * v)
    where up' = s * up, fc1' = s * fc1 + t, and a resize is linear and works a channel: the scale is
    applied at 1/16 instead of 1/4. A lateral 1x1 convolution reads s * x + t as
        W' = W * s (a factor an input channel),  b' = b + W t.
    The coarsest map meets a padded 3x3 convolution too, where a shift is not a bias, and keeps its
    norm; so do the maps of a network that returns them. Needs: batch norms of ConvModules folded.
    Leaves: identities in the norms' places.
    """
    for module in model.modules():
        if isinstance(module, Backbone) and isinstance(module.norm1, nn.BatchNorm2d):
            _into_summands(module)
        if isinstance(module, ViTAdapterUperNet) and not module.all_outputs:
            for name, lateral in zip(
                ("norm2", "norm3"), list(module.decode_head.lateral_convs)[1:], strict=True
            ):
                norm = module.backbone.get_submodule(name)
                conv = lateral.conv
                assert isinstance(conv, nn.Conv2d)
                if isinstance(norm, nn.BatchNorm2d) and conv.bias is not None:
                    scale, shift = affine(norm)
                    conv.bias.add_(conv.weight.flatten(1) @ shift)
                    conv.weight.mul_(scale.reshape(1, -1, 1, 1))
                    module.backbone.set_submodule(name, nn.Identity())
    return model


def _into_summands(backbone: Backbone) -> None:
    scale, shift = affine(backbone.norm1)
    backbone.up.weight.mul_(scale.reshape(1, -1, 1, 1))  # a transposed one has its inputs first
    backbone.spm.fc1.weight.mul_(scale.reshape(-1, 1, 1, 1))
    for conv in (backbone.up, backbone.spm.fc1):
        assert conv.bias is not None
        conv.bias.mul_(scale)
    assert backbone.spm.fc1.bias is not None
    backbone.spm.fc1.bias.add_(shift)
    backbone.with_vit[0] = AddScaled(scale)
    backbone.norm1 = nn.Identity()  # type: ignore[assignment]  # the norm's place stays, empty


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
