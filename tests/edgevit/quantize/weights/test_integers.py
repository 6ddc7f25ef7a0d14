"""Simulated rounding against what torch's own operators give."""

import pytest
import torch
from torch import nn

from edgevit.quantize.weights.integers import applied, rounded_values, rounded_weight

LAYERS = {
    "linear": nn.Linear(6, 4),
    "conv": nn.Conv2d(6, 4, 3, 2, 1),
    "depthwise": nn.Conv2d(6, 6, 3, padding=1, groups=6),
    "deconv": nn.ConvTranspose2d(6, 4, 4, 2, 1),
}


def test_values_are_those_of_torch():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    low, high = x.min(), x.max()
    step = float((high - low) / 255)
    zero = round(-float(low) / step)
    want = torch.fake_quantize_per_tensor_affine(x, step, zero, 0, 255)
    assert torch.allclose(rounded_values(x, low, high), want, atol=1e-5)


def test_zero_stays_zero_and_what_lies_outside_is_cut_off():
    got = rounded_values(torch.tensor([0.0, 9.0, 2.0]), torch.tensor(1.0), torch.tensor(3.0))
    assert got[0] == 0
    assert got[1] == pytest.approx(3)
    assert torch.equal(rounded_values(torch.zeros(3), *torch.zeros(2)), torch.zeros(3))


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_weights_have_a_step_an_output_channel(name):
    layer = LAYERS[name]
    axis = 1 if name == "deconv" else 0
    weight = layer.weight
    largest = weight.abs().amax([d for d in range(weight.dim()) if d != axis])
    steps, zeros = largest / 127, torch.zeros(len(largest))
    want = torch.fake_quantize_per_channel_affine(weight, steps, zeros, axis, -127, 127)
    assert torch.allclose(rounded_weight(layer, weight), want, atol=1e-6)
    assert torch.equal(rounded_weight(layer, torch.zeros_like(weight)), torch.zeros_like(weight))


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_layer_without_its_bias(name):
    layer = LAYERS[name]
    x = torch.randn((2, 6) if name == "linear" else (2, 6, 8, 8))
    shape = (-1,) if name == "linear" else (-1, 1, 1)
    want = layer(x) - layer.bias.reshape(shape)
    assert torch.allclose(applied(layer, x, layer.weight), want, atol=1e-6)
