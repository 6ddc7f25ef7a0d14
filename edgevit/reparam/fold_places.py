"""Class tokens and position tables become constants of one batch and one size."""

import torch
from torch import Tensor, nn

from edgevit.models import vitpose
from edgevit.models.t2t_vit import T2TViT
from edgevit.models.vit import VisionTransformer


class ConstantPlaces(nn.Module):
    """The first tokens of every picture, and what is added to its patches."""

    first: Tensor
    table: Tensor

    def __init__(self, first: Tensor, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("first", first.clone())
        self.register_buffer("table", table.clone())

    def forward(self, x: Tensor, *_: object) -> Tensor:
        """[B, N, C] -> [B, P + N, C]."""
        x = x + self.table
        if not self.first.shape[1]:
            return x
        # A batch of one needs no expansion, which delegates leave outside.
        first = self.first if x.shape[0] == 1 else self.first.expand(x.shape[0], -1, -1)
        return torch.cat([first, x], dim=1)


@torch.no_grad()
def fold_places(model: nn.Module) -> nn.Module:
    """Compute once what no picture changes.

    cat(t, x) + p = cat(t + p_first, x + p_rest) with t the class tokens: t + p_first is a constant.
    ViTPose adds p_class to every patch, so its table is p_rest + p_class. Needs: nothing. Leaves:
    None where the parameters were.
    """
    for module in list(model.modules()):
        match module:
            case VisionTransformer(pos_embed=Tensor()):
                tokens = [t for t in (module.cls_token, module.dist_token) if t is not None]
                module.dist_token = None
                _fold(module, tokens, module.pos_embed)
            case T2TViT(cls_token=Tensor() as token, pos_embed=Tensor() as table):
                _fold(module, [token], table)
            case vitpose.Backbone(pos_embed=Tensor()):
                positions = module.positions()
                assert positions is not None
                _fold(module, [], positions)
    return model


def _fold(module: nn.Module, tokens: list[nn.Parameter], table: Tensor) -> None:
    prefix = len(tokens)
    rest = table[:, prefix:]
    first = torch.cat([*tokens, rest[:, :0]], dim=1) + table[:, :prefix]
    module.set_submodule("placed", ConstantPlaces(first, rest))
    for name in ("cls_token", "pos_embed"):
        if hasattr(module, name):
            setattr(module, name, None)
