"""Bias correction: the means of a network with rounded weights."""

from copy import deepcopy

import torch
from torch import nn

from edgevit.quantize.weights.correct import correct_biases
from edgevit.quantize.weights.integers import rounded_weight


class Layers(nn.Module):
    """A convolution, a depthwise one without a bias, a transposed one, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.bare = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.up = nn.ConvTranspose2d(4, 5, 2, 2)
        self.last = nn.Linear(5, 6)

    def forward(self, x):
        x = self.up(torch.relu(self.bare(torch.relu(self.first(x)))))
        return self.last(x.flatten(2).transpose(1, 2))


@torch.no_grad()
def test_means_are_what_they_were(drawn):
    torch.manual_seed(0)
    network, samples = Layers().double(), drawn((1, 3, 8, 8), 3)
    corrected = deepcopy(network)
    assert correct_biases(corrected, samples) == 3
    assert corrected.bare.bias is None
    # Layer by layer on what it reads in the float network.
    x = torch.cat(list(samples)).double()
    for name in ("first", "up", "last"):
        layer, other = network.get_submodule(name), corrected.get_submodule(name)
        read = []
        hook = layer.register_forward_pre_hook(lambda _, i, read=read: read.append(i[0]))
        network(x)
        hook.remove()
        want = layer(read[0])
        rounded = deepcopy(other)
        rounded.weight.copy_(rounded_weight(other, other.weight))
        got = rounded(read[0])
        dims = (0, 1) if name == "last" else (0, 2, 3)
        assert torch.allclose(got.mean(dims), want.mean(dims), atol=1e-6)
        rounded.bias.copy_(layer.bias)
        assert (rounded(read[0]).mean(dims) - want.mean(dims)).abs().max() > 1e-5


@torch.no_grad()
def test_a_dead_layer_stays(drawn):
    network = Layers().double()
    nn.init.zeros_(network.first.weight)
    before = network.first.bias.clone()
    correct_biases(network, drawn((1, 3, 8, 8)))
    assert torch.equal(network.first.bias, before)
