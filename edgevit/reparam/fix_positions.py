"""ViT-Adapter's position table at one size is a constant, its level embedding goes into biases."""

import torch
from torch import Tensor, nn

from edgevit.models.vit_adapter import Backbone


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
