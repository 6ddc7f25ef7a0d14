"""The batch norms of ViT-Adapter's maps disappear into what makes the maps, or what reads them."""

import torch
from torch import Tensor, nn

from edgevit.models.vit_adapter import AddResized, Backbone, ViTAdapterUperNet
from edgevit.reparam.fold_norms import affine


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
