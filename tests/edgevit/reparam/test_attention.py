"""Rewritten attention against the network's own."""

import pytest
import torch
from torch import nn

from edgevit.models.topformer import Attention
from edgevit.reparam.attention import StackedAttention
from edgevit.reparam.fold_norms import fold_batch_norms


@pytest.fixture
def attention(filled):
    made = filled(nn.Sequential(Attention(24, 16, 3, 2))).double().eval()
    return fold_batch_norms(made)[0]


@pytest.mark.parametrize("shape", [(1, 24, 1, 1), (1, 24, 7, 7), (2, 24, 3, 5)])
def test_equal_to_the_networks(shape, attention):
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        wanted = attention(x)
        assert torch.allclose(StackedAttention(attention)(x), wanted, atol=1e-12)
    assert wanted.std() > 0


def test_products_are_three_dimensional(attention):
    ranks = []
    original = torch.bmm

    def bmm(a, b):
        ranks.append((a.ndim, b.ndim))
        return original(a, b)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "bmm", bmm)
        StackedAttention(attention)(torch.zeros(1, 24, 4, 4, dtype=torch.float64))
    assert ranks == [(3, 3), (3, 3)]


def test_stacking_keeps_one_projection(attention):
    stacked = StackedAttention(attention)
    convolutions = [m for m in stacked.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [24, 16 * 3 * 4]
    assert attention.to_q.c.out_channels == 48, "the one given keeps its own"
