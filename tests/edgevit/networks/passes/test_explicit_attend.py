"""Attention written out against the fused one."""

import pytest
import torch

from edgevit.networks.parts.transformer import Attend, Attention
from edgevit.networks.passes.explicit_attend import ExplicitAttend, explicit_attend


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("queries", [1, 7])
def test_equal_to_the_fused_one(batch, heads, queries):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(batch, count, 24, generator=generator, dtype=torch.float64)
        for count in (queries, 7, 7)
    )
    got = ExplicitAttend(heads, 0.5)(q, k, v)
    assert torch.allclose(got, Attend(heads, 0.5)(q, k, v), atol=1e-12)


def test_what_attends_otherwise_stays():
    class Other(Attend):
        """Windows, say."""

    other = Other(3, 0.5)
    assert explicit_attend(Attention(24, 3, attend=other)).attend is other
    assert isinstance(explicit_attend(Attention(24, 3)).attend, ExplicitAttend)
