"""LayerNorm's scale and shift in what reads it."""

from copy import deepcopy

import torch
from torch import nn

from edgevit.reparam.explicit_norms import fold_norm_affines


def values(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


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
