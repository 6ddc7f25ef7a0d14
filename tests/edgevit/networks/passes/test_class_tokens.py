"""The last block computes what the classifier reads, and nothing else."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.networks.parts.transformer import OneToken
from edgevit.networks.t2t_vit import passes as t2t_vit
from edgevit.networks.vit import passes as vit


def answer_for_class_tokens(network):
    return t2t_vit.answer_for_class_tokens(vit.answer_for_class_tokens(network))


@torch.no_grad()
def behind_the_last_block(network):
    """The answer, and the tokens that leave the last block."""
    seen = []
    hook = network.blocks[-1].register_forward_hook(lambda *call: seen.append(call[2].shape[1]))
    x = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(2))
    out = network(x.double())
    hook.remove()
    return out, seen[0]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vit", 1),
        ("vit-two-tokens", 1),
        ("vit-two-classifiers", 2),
        ("vit-tanh", 1),
        ("t2t", 1),
        ("t2t-se", 1),
        ("t2t-ghost", 1),
        ("t2t-dense", 1),
    ],
)
def test_only_what_is_read_leaves_the_last_block(name, count, plain_named):
    network = plain_named(name).double()
    wanted, before = behind_the_last_block(network)
    got, after = behind_the_last_block(answer_for_class_tokens(deepcopy(network)))
    assert (before > count, after) == (True, count)
    assert torch.allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("name", ["vit-mean", "vit-mean-alone"])
def test_a_mean_reads_every_token(name, plain_named):
    network = plain_named(name)
    names = [module for module, _ in network.named_modules()]
    after = answer_for_class_tokens(network)
    assert [module for module, _ in after.named_modules()] == names


def test_maps_read_every_token(plain_named):
    network = plain_named("vitpose")
    state = set(network.state_dict())
    assert set(answer_for_class_tokens(network).state_dict()) == state


def test_two_classifiers_become_one(plain_named):
    network = answer_for_class_tokens(plain_named("vit-two-classifiers"))
    assert network.head_dist is None
    assert (network.head.in_features, network.head.out_features) == (64, 10)


def test_two_classifiers_behind_another_layer_stay(plain_named):
    network = plain_named("vit-two-classifiers")
    network.pre_logits = nn.Tanh()
    assert isinstance(answer_for_class_tokens(network).pool, OneToken)
