"""Projections apart, and the scale of attention in the queries'."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.networks.parts.transformer import Attend, Attention
from edgevit.networks.passes.split_projections import (
    Apart,
    Slices,
    fold_attention_scales,
    set_apart,
    split_projections,
)


def attention(bias=True):
    torch.manual_seed(0)
    return nn.Sequential(Attention(24, 3, bias=bias)).double()


def tokens():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 7, 24, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_three_projections_are_the_thirds_of_one(bias):
    before, x = attention(bias), tokens()
    after = split_projections(deepcopy(before))
    assert isinstance(after[0].qkv, Apart)
    assert torch.allclose(after(x), before(x), atol=1e-12)
    assert split_projections(after)[0].qkv is after[0].qkv


@torch.no_grad()
def test_queries_of_the_first_tokens_alone():
    before, x = attention(), tokens()
    after = deepcopy(before)
    set_apart(after[0], 2)
    assert torch.allclose(after(x), before(x)[:, :2], atol=1e-12)


@torch.no_grad()
def test_slices_are_the_chunks():
    x = tokens()
    assert all(torch.equal(a, b) for a, b in zip(Slices()(x), x.chunk(3, dim=-1), strict=True))


@pytest.mark.parametrize("apart", [True, False])
@torch.no_grad()
def test_the_scale_goes_into_the_queries_once(apart):
    before, x = attention(), tokens()
    after = deepcopy(before)
    if apart:
        set_apart(after[0])
    after = fold_attention_scales(fold_attention_scales(after))
    assert after[0].attend.scale == 1
    assert torch.allclose(after(x), before(x), atol=1e-12)


def test_another_attention_keeps_its_scale():
    class Other(Attend):
        """Windows, say."""

    network = nn.Sequential(Attention(24, 3, attend=Other(3, 0.5)))
    weight = network[0].qkv.weight.clone()
    assert fold_attention_scales(network)[0].attend.scale == 0.5
    assert torch.equal(network[0].qkv.weight, weight)
