"""4-bit weights in torch, with gradients: the linear layers of a copy of a network round theirs as
the formats' w4 files do.

No two formats put the same sixteen values between a group's ends, so training that is to serve all
of them meets their grids in turn.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgevit_export.errors import Unsupported
from edgevit_export.quantization.dynamic import GROUP, linear_layers, narrow_layers
from edgevit_export.scheme import Scheme

# What a group's largest weight is divided by: torchao, LiteRT's quantizer, and ONNX Runtime.
GRIDS = (7.5, 7.0, 8.0)
LOW, HIGH = -8, 7
SMALLEST = 2.0**-100  # of a step; a group of zeros has one, too


class Groups(nn.Module):
    """Rounds a weight [out, in] in groups of 32 inputs; gradients pass straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = GRIDS[0]

    def forward(self, weight: Tensor) -> Tensor:
        """The same shape."""
        grouped = weight.detach().reshape(weight.shape[0], -1, GROUP)
        step = (grouped.abs().amax(-1, keepdim=True) / self.grid).clamp_min(SMALLEST)
        rounded = (grouped / step).round().clamp(LOW, HIGH) * step
        return weight + (rounded.reshape(weight.shape) - weight.detach())


@dataclass(frozen=True, slots=True, eq=False)
class Narrow:
    """A copy of a network with 4-bit linear layers."""

    network: nn.Module
    layers: Sequence[str]  # module paths
    groups: Sequence[Groups]

    def use(self, grid: float) -> None:
        """Round on this grid of `GRIDS` from now on."""
        for one in self.groups:
            one.grid = grid

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs as a tuple."""
        out = self.network(*inputs)
        return out if isinstance(out, tuple) else (out,)

    def plain(self) -> nn.Module:
        """The network with the weights that were rounded, unrounded; this copy ends with it."""
        for path in self.layers:
            layer = self.network.get_submodule(path)
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        return self.network


@torch.no_grad()
def narrow(model: nn.Module, example: tuple[Tensor, ...], floats: Iterable[str] = ()) -> Narrow:
    """Copy a network and round its linear layers, but those of these patterns; raises
    `Unsupported` where none is left.
    """
    chosen = linear_layers(model, example, Scheme("w4", floats=tuple(floats)))
    network = copy.deepcopy(model)
    paths = tuple(path for path in chosen.chosen if path in narrow_layers(network, chosen))
    if not paths:
        raise Unsupported(
            f"No linear layer has inputs in whole groups of {GROUP}.", next="--precision w8a8"
        )
    groups = []
    for path in paths:
        groups.append(Groups())
        # `unsafe` leaves out a check that runs the rounding on the weight as it is.
        parametrize.register_parametrization(
            network.get_submodule(path), "weight", groups[-1], unsafe=True
        )
    return Narrow(network, paths, groups)
