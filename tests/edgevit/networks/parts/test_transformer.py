"""The shared blocks against the formulas in plain torch."""

import pytest
import torch
from torch import nn

from edgevit.networks.parts.transformer import (
    Attend,
    Attention,
    Block,
    MeanToken,
    Mlp,
    OneToken,
    Placed,
    Thirds,
)


def tokens(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("heads", "scale"), [(1, 0.3), (3, 0.5), (12, 2.0)])
@pytest.mark.parametrize("queries", [1, 5])
def test_attend_is_a_softmax_a_head(heads, scale, queries):
    q, k, v = tokens(2, queries, 24), tokens(2, 5, 24, seed=1), tokens(2, 5, 48, seed=2)
    got = Attend(heads, scale)(q, k, v)
    by_head = zip(*(part.chunk(heads, dim=-1) for part in (q, k, v)), strict=True)
    wanted = [(scale * a @ b.transpose(1, 2)).softmax(-1) @ c for a, b, c in by_head]
    assert torch.allclose(got, torch.cat(wanted, dim=-1), atol=1e-12)


def test_attention_cuts_its_projection_into_q_k_and_v():
    attention = Attention(24, 3, bias=False).double()
    x = tokens(2, 5, 24)
    q, k, v = (x @ rows.T for rows in attention.qkv.weight.split(24))
    wanted = attention.proj(Attend(3, 8**-0.5)(q, k, v))
    assert torch.allclose(attention(x), wanted, atol=1e-12)
    assert [part.shape for part in Thirds()(attention.qkv(x))] == [(2, 5, 24)] * 3


def test_keys_are_those_of_the_official_projects():
    block = Block(8, Attention(8, 2), Mlp(8, 16), 1e-6)
    layers = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    wanted = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    assert list(block.state_dict()) == wanted
    assert block.norm1.eps == 1e-6
    assert Mlp(8, 16, 4).fc2.out_features == 4


def test_a_block_adds_both_branches():
    block = Block(8, nn.Linear(8, 8), Mlp(8, 16), 1e-6).double()
    x = tokens(2, 5, 8)
    wanted = x + block.attn(block.norm1(x))
    assert torch.equal(block(x), wanted + block.mlp(block.norm2(wanted)))


def test_places_come_before_the_patches():
    x, table = tokens(2, 5, 8), tokens(1, 7, 8, seed=1)
    first, second = tokens(1, 1, 8, seed=2), tokens(1, 1, 8, seed=3)
    got = Placed()(x, (first, second), table)
    wanted = torch.cat([first.expand(2, 1, 8), second.expand(2, 1, 8), x], dim=1) + table
    assert torch.equal(got, wanted)
    assert torch.equal(Placed()(x, (None, None), None), x)


def test_tokens_that_classifiers_read():
    x = tokens(2, 5, 8)
    assert torch.equal(OneToken(1)(x), x[:, 1])
    assert torch.allclose(MeanToken(2)(x), x[:, 2:].mean(1))
    assert torch.allclose(MeanToken(keepdim=True)(x), x.mean(1, keepdim=True))
