"""Batch norms behind transposed convolutions."""

import pytest
import torch
from torch import nn

from edgevit.networks.passes.fold_deconv_norms import fold_deconv_norms


def sequence(groups=1, bias=False):
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6)
    for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(value, 0.5, 2)
    deconv = nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=groups, bias=bias)
    return nn.Sequential(deconv, norm, nn.ReLU()).double().eval()


@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_one_layer_is_left_of_two(bias):
    before = sequence(bias=bias)
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    wanted = before(x)
    after = fold_deconv_norms(before)
    assert torch.allclose(after(x), wanted, atol=1e-12)
    assert isinstance(after[1], nn.Identity)
    assert isinstance(after[2], nn.ReLU)


def test_groups_keep_their_norm():
    after = fold_deconv_norms(sequence(groups=2))
    assert isinstance(after[1], nn.BatchNorm2d)
