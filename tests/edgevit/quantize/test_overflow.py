"""Activations beyond float16 are named."""

import numpy as np
import torch
from torch import nn

from edgevit.quantize.overflow import beyond_half
from edgevit_export.scheme import KEEPS_FP32

ONES = [np.ones((1, 4), np.float32)]


def chain(gain: float) -> nn.Sequential:
    network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        network[0].weight.fill_(gain / 4)
        network[2].weight.fill_(1e-6)
    return network.eval()


def test_the_module_that_overflows_is_named_with_what_it_reaches():
    assert beyond_half(chain(1e6), ONES) == {"0": 1e6, "1": 1e6}


def test_what_float16_holds_is_not_told():
    assert beyond_half(chain(65504), ONES) == {}
    assert set(beyond_half(chain(65600), ONES)) == {"0", "1"}


def test_values_that_are_not_finite_are_told():
    assert set(beyond_half(chain(float("inf")), ONES)) >= {"0"}


def test_what_stays_float32_is_left_out():
    network = nn.Sequential(chain(1e6))
    setattr(network[0], KEEPS_FP32, True)
    assert beyond_half(network, ONES) == {}


def test_the_network_is_left_as_it_was():
    network = chain(1e6)
    beyond_half(network, ONES)
    assert all(not module._forward_hooks for module in network.modules())
