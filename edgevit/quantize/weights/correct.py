"""Bias correction: what rounding the weights does to the mean of a layer's outputs."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader
from edgevit.quantize.weights.integers import applied, rounded_weight
from edgevit.quantize.weights.search import probe_of
from edgevit.quantize.weights.streaming import Samples, stream

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


@torch.no_grad()
def correct_biases(network: nn.Module, samples: Samples) -> int:
    """Subtract from each bias the mean error that rounding makes, a channel:
        b' = b - E[Q(W) x - W x] = b - E[(Q(W) - W) x]
    over the samples, their tokens and their pixels, zeros of the padding included, with x what the
    layer reads in the network before it is rounded.

    NOT exact: it moves the float network so that the rounded one has the right means. Layers
    without a bias stay as they are. Source: Nagel et al. (ICCV 2019, arXiv 1906.04721), section
    4.2, with E[x] from samples instead of from batch norms. Returns how many biases moved.
    """
    probe = probe_of(network)
    names = [n for n, m in network.named_modules() if isinstance(m, LAYERS) and m.bias is not None]
    layers: list[Reader] = [m for n in names if isinstance(m := probe.get_submodule(n), LAYERS)]
    errors = [(rounded_weight(layer, layer.weight) - layer.weight) for layer in layers]
    sums: dict[int, Tensor] = {}
    counts: dict[int, int] = {}

    def see(number: int, x: Tensor) -> None:
        layer = layers[number]
        if isinstance(layer, nn.Linear):
            rows = x.flatten(0, -2)
            total = applied(layer, rows.double().mean(dim=0).float(), errors[number]) * len(rows)
            count = len(rows)
        else:
            made = applied(layer, x, errors[number])
            total, count = made.sum(dim=(0, 2, 3)), made[:, 0].numel()
        sums[number] = sums.get(number, 0) + total.double()
        counts[number] = counts.get(number, 0) + count

    stream(probe, samples, layers, see)
    for number, total in sums.items():
        bias = network.get_submodule(names[number]).bias
        assert isinstance(bias, Tensor)
        bias.sub_(total / counts[number])
    return len(sums)
