"""Class tokens and position tables become constants of one batch and one size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
def place_constants(module: nn.Module, tokens: Sequence[Tensor], table: Tensor) -> None:
    """Compute once what no picture changes, in the place `placed` of a network.

    cat(t, x) + p = cat(t + p_first, x + p_rest) with t the class tokens: t + p_first is a constant.
    Needs: nothing. Leaves: None where the parameters `cls_token` and `pos_embed` were.
    """
    prefix = len(tokens)
    rest = table[:, prefix:]
    first = torch.cat([*tokens, rest[:, :0]], dim=1) + table[:, :prefix]
    module.set_submodule("placed", ConstantPlaces(first, rest))
    for name in ("cls_token", "pos_embed"):
        if hasattr(module, name):
            setattr(module, name, None)
