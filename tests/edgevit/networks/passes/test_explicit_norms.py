"""LayerNorm and means in XNNPACK's form against torch's."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.networks.parts.transformer import MeanToken
from edgevit.networks.passes.explicit_norms import (
    ExplicitMeanToken,
    ExplicitNorm,
    explicit_norms,
    fold_norm_affines,
    mean_of_last,
)


def values(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 8), (2, 5, 8), (2, 3, 5, 8)])
@pytest.mark.parametrize("affine", [True, False])
@torch.no_grad()
def test_a_norm_is_two_means(shape, affine):
    norm = nn.LayerNorm(8, 1e-5, elementwise_affine=affine).double()
    for parameter in norm.parameters():
        nn.init.uniform_(parameter, 0.5, 2)
    x = 3 + values(*shape)
    assert torch.allclose(ExplicitNorm(norm)(x), norm(x), atol=1e-12)
    assert torch.allclose(mean_of_last(x), x.mean(-1, keepdim=True), atol=1e-13)


@pytest.mark.parametrize(("skipped", "keepdim"), [(0, True), (0, False), (2, False)])
def test_means_over_tokens(skipped, keepdim):
    mean, x = MeanToken(skipped, keepdim), values(2, 5, 8)
    got = ExplicitMeanToken(mean)(x)
    assert got.shape == mean(x).shape
    assert torch.allclose(got, mean(x), atol=1e-13)


def test_a_norm_over_two_dimensions_stays():
    network = nn.Sequential(nn.LayerNorm((4, 8)), nn.LayerNorm(8))
    assert [type(module) for module in explicit_norms(network)] == [nn.LayerNorm, ExplicitNorm]


@torch.no_grad()
def test_scales_and_shifts_go_into_what_reads_them(plain):
    network = plain.double()
    x = values(*network.input_shape)
    folded = fold_norm_affines(deepcopy(network))
    assert torch.allclose(folded(x), network(x), atol=1e-10)
    norms = [
        n
        for n, m in folded.named_modules()
        if isinstance(m, nn.LayerNorm) and len(list(m.parameters()))
    ]
    # Norms before unfolded patches, a padded convolution, and two classifiers keep theirs.
    kept = ("attention1.norm1", "attention2.norm1", "last_norm", "norm", "fc_norm")
    assert all(name.endswith(kept) for name in norms)
    assert not any(name.startswith("blocks") for name in norms)
