"""What each fold leaves in the network, and where it keeps its hands off."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.create import create_model
from edgevit.models.layers import HardSigmoid
from edgevit.models.topformer import INJECTIONS, build, config_of
from edgevit.models.zoo import model_card
from edgevit.reparam.fold_fuse import fold_depthwise_fuse
from edgevit.reparam.fold_gates import fold_hard_sigmoids
from edgevit.reparam.fold_norms import fold_batch_norms


@pytest.fixture
def folded(filled):
    """A network without norms, float64."""

    def make(name="topformer-t", **options):
        network = filled(create_model(name, input_size=(64, 96), **options)).double()
        return fold_batch_norms(network)

    return make


def run(network, seed=2):
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(seed)).double()
    with torch.no_grad():
        out = network(x)
    return out if isinstance(out, tuple) else (out,)


def equal(one, other):
    return all(torch.allclose(a, b, atol=1e-10) for a, b in zip(one, other, strict=True))


def norm_count(network):
    return sum(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())


@pytest.mark.parametrize("name", ["topformer-t", "topformer-s-cls", "topformer-b-features"])
def test_folding_leaves_no_norm_and_a_bias_in_every_convolution(name, filled):
    network = filled(create_model(name, input_size=(64, 96))).double()
    before = run(network)
    assert norm_count(network) > 20
    network = fold_batch_norms(network).eval()
    assert norm_count(network) == 0
    assert all(m.bias is not None for m in network.modules() if isinstance(m, nn.Conv2d))
    assert equal(run(network), before)


def test_the_folded_weights_are_fewer_by_what_the_specification_counts(filled):
    for variant, wanted in (("t", 1.381e6), ("s", 3.020e6), ("b", 5.043e6)):
        network = fold_batch_norms(create_model(f"topformer-{variant}"))
        assert abs(sum(p.numel() for p in network.parameters()) - wanted) < 500


@pytest.mark.parametrize("injection", INJECTIONS)
def test_gates_become_one_activation(injection, folded):
    network = folded(injection=injection)
    before = run(network)
    network = fold_hard_sigmoids(network)
    assert not any(isinstance(module, HardSigmoid) for module in network.modules())
    gates = [SIM.gate for SIM in network.backbone.SIM if hasattr(SIM, "gate")]
    assert [type(gate) for gate in gates] == ([] if injection == "fuse_sum" else [nn.ReLU6] * 3)
    assert equal(run(network), before)


def test_gates_are_folded_once():
    network = create_model("topformer-t", input_size=(64, 96)).double()
    network = fold_hard_sigmoids(fold_batch_norms(network))
    before = run(network)
    assert equal(run(fold_hard_sigmoids(network)), before)


@pytest.mark.parametrize(
    ("options", "vanishes"),
    [
        ({}, True),
        ({"injection": "fuse_sum"}, True),
        ({"injection": "muli_sum_cbr"}, False),
        ({"injection": "fuse_multi"}, False),
    ],
)
def test_a_depthwise_fuse_vanishes_where_all_is_linear(options, vanishes, folded):
    network = folded(**options)
    before = run(network)
    network = fold_depthwise_fuse(network)
    assert isinstance(network.decode_head.linear_fuse.conv, nn.Identity) == vanishes
    assert isinstance(network.decode_head.linear_fuse.act, nn.ReLU)
    assert equal(run(network), before)


def test_a_dense_fuse_stays(folded):
    network = folded("topformer-s")
    before = run(network)
    network = fold_depthwise_fuse(network)
    assert isinstance(network.decode_head.linear_fuse.conv, nn.Conv2d)
    assert equal(run(network), before)


def test_a_head_of_one_channel_is_both_dense_and_depthwise(filled):
    card = model_card("topformer-t")
    config = replace(config_of(card), decode_channels=1, head_channels=1)
    network = filled(build(card, config, False).eval()).double()
    before = run(network)
    assert equal(run(fold_depthwise_fuse(fold_batch_norms(network))), before)


@pytest.mark.parametrize("name", ["topformer-t-cls", "topformer-t-features"])
def test_there_is_nothing_to_fold_without_a_head(name, folded):
    network = folded(name)
    before = run(network)
    assert equal(run(fold_depthwise_fuse(network)), before)
