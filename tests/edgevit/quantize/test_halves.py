"""Halves in torch: every result has eleven bits, and what overflows in half does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgevit.difference import sqnr
from edgevit.evaluation.subject import network_run
from edgevit.networks.create import create_model
from edgevit.networks.line import run_line
from edgevit.quantize.halves import InHalves, half_run, layer_norm, rounded
from edgevit.weights import demo_weights


def test_results_have_the_numbers_of_float16() -> None:
    x = torch.linspace(-3, 3, 97)
    with InHalves():
        y = torch.sin(x) * 1.7 + 0.1
    assert torch.equal(y, y.half().float())
    assert not torch.equal(y, torch.sin(x) * 1.7 + 0.1)
    assert y.dtype == torch.float32


def test_integers_and_views_stay() -> None:
    kept = torch.full((2, 3), 1e6)
    with InHalves():
        assert int(torch.tensor(70_001) + 1) == 70_002
        assert kept.view(3, 2)[0, 0].item() == 1e6, "a view is no result"
        assert torch.isinf(kept * 1).all()


def test_a_norm_overflows_where_its_squares_do() -> None:
    x = torch.zeros(1, 64)
    x[0, 0], x[0, 1] = 300.0, -300.0  # 90000 is no half
    found = layer_norm(x, [64], None, None, 1e-6)[0]
    wanted = F.layer_norm(x, [64])
    assert found.abs().max() == 0
    assert wanted.abs().max() > 5
    small = x / 10
    assert torch.allclose(layer_norm(small, [64], None, None, 1e-6)[0], wanted, atol=0.02)
    weight, bias = torch.rand(64) + 0.5, torch.randn(64)
    with InHalves():
        inside = F.layer_norm(small, [64], weight, bias)
    assert torch.allclose(inside, F.layer_norm(small, [64], weight, bias), atol=0.03)


def test_a_networks_weights_are_halves_and_the_network_stays() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)).eval()
    before = [value.clone() for value in network.parameters()]
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    (found,) = half_run(network)(x)
    (wanted,) = network_run(network)(x)
    assert np.array_equal(found, found.astype(np.float16).astype(np.float32))
    assert 50 < sqnr(found, wanted) < 80
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert rounded(torch.tensor([3])).dtype == torch.int64


@pytest.mark.parametrize("name", ["vit-micro", "vitpose-micro"])
def test_a_rewritten_network_keeps_its_answers(name: str) -> None:
    weights = demo_weights(name)
    assert weights is not None
    network = run_line(create_model(name, weights.path), "common")
    x = np.random.default_rng(1).standard_normal(network.input_shape).astype(np.float32)
    (found,) = half_run(network)(x)
    assert sqnr(found, network_run(network)(x)[0]) > 55  # measured: 65
