"""Who reads a norm, and layers that read scaled inputs."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.networks.parts.norm_readers import norm_readers, read_scaled

LAYERS = {
    "linear": (nn.Linear(6, 4), (2, 6), True),
    "two tokens": (nn.Linear(12, 4), (2, 12), True),
    "1x1": (nn.Conv2d(6, 4, 1, bias=False), (1, 6, 5, 5), True),
    "padded": (nn.Conv2d(6, 4, 3, padding=1), (1, 6, 5, 5), False),
    "depthwise": (nn.Conv2d(6, 12, 3, padding=1, groups=6), (1, 6, 5, 5), False),
    "deconv": (nn.ConvTranspose2d(6, 4, 4, 2, 1), (1, 6, 5, 5), False),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_layer_reads_scaled_inputs(name):
    layer, shape, shifts = LAYERS[name]
    layer = deepcopy(layer).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    factor = 0.5 + torch.rand(6, generator=generator, dtype=torch.float64)
    shift = torch.randn(6, generator=generator, dtype=torch.float64) if shifts else None
    size = (-1,) if x.dim() == 2 else (1, -1, 1, 1)
    times = 2 if name == "two tokens" else 1
    moved = x * factor.repeat(times).reshape(size)
    if shift is not None:
        moved = moved + shift.repeat(times).reshape(size)
    want = layer(moved)
    read_scaled(layer, factor, shift)
    assert torch.allclose(layer(x), want, atol=1e-12)


def test_every_norm_of_a_block_has_readers(plain):
    found = {id(place.norm) for place in norm_readers(plain)}
    names = [n for n, m in plain.named_modules() if isinstance(m, nn.LayerNorm)]
    missed = [n for n in names if id(plain.get_submodule(n)) not in found]
    # Norms before unfolded patches, and before two classifiers.
    assert all(n.endswith(("attention1.norm1", "attention2.norm1", "norm")) for n in missed)
    assert not any(n.startswith("blocks") for n in missed)


def test_a_networks_own_maps_are_no_readers(plain_named):
    network = plain_named("vitpose")
    before = len(norm_readers(network))
    network.all_outputs = True
    assert len(norm_readers(network)) == before - 1
