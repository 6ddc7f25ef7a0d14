"""The small blocks against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgevit.networks.parts.layers import (
    ConvBN,
    ConvModule,
    GlobalPool,
    HardSigmoid,
    Network,
    Resize,
    activation,
    initialize_convs,
)


def test_hard_sigmoid_is_torchs():
    x = torch.linspace(-6, 6, 97)
    assert torch.allclose(HardSigmoid()(x), F.hardsigmoid(x), atol=1e-7)


def test_resize_keeps_half_pixel_centers():
    x = torch.arange(4.0).reshape(1, 1, 1, 4)
    assert Resize()(x, (1, 8)).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_global_pool_is_the_mean_of_each_map():
    x = torch.randn(2, 3, 5, 7)
    assert torch.allclose(GlobalPool()(x), F.adaptive_avg_pool2d(x, 1).flatten(1), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"), [("relu", nn.ReLU), ("relu6", nn.ReLU6), (None, nn.Identity)]
)
def test_activations_by_name(name, kind):
    assert type(activation(name)) is kind


def test_a_convolution_is_biased_only_without_a_norm():
    assert ConvBN(3, 4).c.bias is None
    assert ConvModule(3, 4).conv.bias is None
    bare = ConvModule(3, 4, norm=False)
    assert bare.conv.bias is not None
    assert isinstance(bare.bn, nn.Identity)


def test_networks_start_as_the_official_one():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(64, 256, 3, groups=2), nn.BatchNorm2d(256), nn.Linear(256, 512), nn.BatchNorm1d(4)
    )
    initialize_convs(model)
    wanted = math.sqrt(2 / (3 * 3 * 256 // 2))
    assert abs(float(model[0].weight.detach().std()) / wanted - 1) < 0.02
    assert abs(float(model[2].weight.detach().std()) / 0.01 - 1) < 0.02
    for zero in (model[0].bias, model[1].bias, model[2].bias, model[3].bias):
        assert not zero.any()
    assert torch.equal(model[1].weight, torch.ones(256))


def test_a_network_knows_its_input():
    network = Network()
    network.input_shape = (1, 3, 48, 64)
    assert network.input_size == (48, 64)
