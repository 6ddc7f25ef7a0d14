"""Rounding as the runtimes' kernels see it, simulated in floats: activations asymmetric with one
scale a tensor, weights symmetric with one scale an output channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader

LEVELS = 255  # steps of an activation's range
BOUND = 127  # of weights: -127..127


def rounded_values(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Activations in the range low..high, which is widened to hold zero exactly."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    step = ((high - low) / LEVELS).clamp(min=torch.finfo(x.dtype).tiny)
    zero = (-low / step).round()
    return ((x / step).round() + zero).clamp(0, LEVELS).sub(zero).mul(step)


def outputs_first(layer: Reader, weight: Tensor) -> Tensor:
    """A layer's weight (or one of its shape) with output channels first; the same the other way."""
    return weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight


def rounded_weight(layer: Reader, weight: Tensor) -> Tensor:
    """A layer's weight on its 255 levels, the largest of an output channel being the 127th."""
    rows = outputs_first(layer, weight)
    largest = rows.abs().amax(dim=tuple(range(1, rows.dim())), keepdim=True)
    step = (largest / BOUND).clamp(min=torch.finfo(weight.dtype).tiny)
    return outputs_first(layer, (rows / step).round().clamp(-BOUND, BOUND) * step)


def applied(layer: Reader, x: Tensor, weight: Tensor) -> Tensor:
    """What a layer makes of x with another weight and without its bias."""
    match layer:
        case nn.Linear():
            return F.linear(x, weight)
        case nn.ConvTranspose2d():
            return F.conv_transpose2d(
                x,
                weight,
                None,
                layer.stride,
                layer.padding,  # type: ignore[arg-type]  # the same
                layer.output_padding,
                layer.groups,
                layer.dilation,
            )
        case _:
            return F.conv2d(
                x,
                weight,
                None,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
            )
