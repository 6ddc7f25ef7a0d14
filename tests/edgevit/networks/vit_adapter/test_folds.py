"""What each fold leaves in a ViT-Adapter, and that the network stays the same function."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.difference import difference
from edgevit.networks.passes.fix_pools import fix_pools
from edgevit.networks.passes.fold_norms import fold_batch_norms
from edgevit.networks.seeded import fill_seeded
from edgevit.networks.vit_adapter.folds import (
    FixedPositions,
    fix_positions,
    fold_layer_scales,
    fold_map_norms,
)
from edgevit.networks.vit_adapter.network import (
    Config,
    Injector,
    ViTAdapter,
    ViTAdapterUperNet,
    light,
    with_windows,
)

EXACT = 1e-9  # the line's bound in float64
TINY = Config(
    dim=24,
    depth=4,
    heads=3,
    deform_heads=2,
    deform_ratio=0.5,
    grid=(3, 3),
    input_size=(64, 96),
    conv_inplane=4,
    window=3,
    num_classes=5,
    head_channels=6,
    aux_channels=4,
)
NETWORKS = {
    "features": (ViTAdapter, TINY),
    "det": (ViTAdapter, with_windows(replace(TINY, vit_features="last"))),
    "light": (ViTAdapter, light(TINY)),
    "no layer scale": (ViTAdapter, replace(TINY, layer_scale=False)),
    "upernet": (ViTAdapterUperNet, TINY),
}


def make(name):
    kind, config = NETWORKS[name]
    network = kind(config)
    fill_seeded(network, 2)
    return network.double().eval()


def run(network):
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(7)).double()
    with torch.no_grad():
        out = network(x)
    return out if isinstance(out, tuple) else (out,)


def check(network, before):
    for got, wanted in zip(run(network), before, strict=True):
        assert difference(got.numpy(), wanted.numpy()) <= EXACT
        assert wanted.std() > 0.01


def norms(network):
    return [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_of_the_maps(name):
    network = make(name)
    before = run(network)
    network = fold_batch_norms(network).eval()
    maps = [f"backbone.norm{number}" for number in (1, 2, 3, 4)]
    read = [key for key in norms(network) if not key.startswith("auxiliary_head")]
    assert read == maps
    network = fold_map_norms(network).eval()
    assert norms(network) == (maps[3:] if name == "upernet" else maps[1:])
    check(network, before)
    check(fold_map_norms(fold_batch_norms(network)), before)


def test_norms_stay_where_a_map_is_an_output_too():
    network = ViTAdapterUperNet(TINY, all_outputs=True).eval()
    fold_map_norms(fold_batch_norms(network))
    assert [f"backbone.norm{number}" for number in (2, 3, 4)] == norms(network)


@pytest.mark.parametrize("name", NETWORKS)
def test_positions_and_levels_are_constants(name):
    network = make(name)
    before = run(network)
    network = fix_positions(network)
    backbone = network.backbone
    assert backbone.pos_embed is None
    assert backbone.level_embed is None
    assert isinstance(backbone.positions, FixedPositions)
    check(network, before)
    table = backbone.positions.table
    check(fix_positions(network), before)
    assert backbone.positions.table is table


@pytest.mark.parametrize("name", NETWORKS)
def test_layer_scales_vanish(name):
    network = make(name)
    before = run(network)
    network = fold_layer_scales(network)
    assert not [key for key, _ in network.named_parameters() if "gamma" in key]
    check(network, before)
    check(fold_layer_scales(network), before)


def test_a_closed_injector_stays_closed():
    network = make("features")
    for module in network.modules():
        if isinstance(module, Injector):
            nn.init.zeros_(module.gamma)
    before = run(network)
    network = fold_layer_scales(network)
    check(network, before)
    injectors = [m for m in network.modules() if isinstance(m, Injector)]
    assert all(not m.attn.output_proj.weight.any() for m in injectors)


def test_upernets_pools_are_fixed():
    network = make("upernet")
    before = run(network)
    network = fix_pools(network, torch.zeros(1, 3, 64, 96, dtype=torch.float64))
    assert not any(isinstance(module, nn.AdaptiveAvgPool2d) for module in network.modules())
    check(network, before)


@pytest.mark.parametrize("rewrite", [fold_map_norms, fix_positions, fold_layer_scales])
def test_other_networks_stay(rewrite):
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.LayerNorm(4))
    state = deepcopy(other.state_dict())
    assert rewrite(other) is other
    assert all(torch.equal(value, state[key]) for key, value in other.state_dict().items())
