"""Tokens in the order of windows, against windows laid out with the zeros that fill them."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.difference import difference
from edgevit.networks.parts.transformer import Attend, Attention
from edgevit.networks.seeded import fill_seeded
from edgevit.networks.vit_adapter.network import Config, ViTAdapter, WindowAttend
from edgevit.networks.vit_adapter.order_windows import (
    FilledAttend,
    FromWindows,
    GroupedAttend,
    ToWindows,
    groups_of,
    order_windows,
)

EXACT = 1e-9  # the line's bound in float64
TINY = Config(
    dim=24,
    depth=6,
    heads=3,
    deform_heads=2,
    deform_ratio=0.5,
    interactions=2,
    grid=(3, 3),
    conv_inplane=4,
    extra_extractors=0,
    vit_features="last",
    global_every=3,
)
# Grid and window -> the sizes of the windows that occur, whole ones first.
GRIDS = {
    "whole": ((4, 6), 2, [(2, 2)]),
    "cut at the right": ((4, 5), 2, [(2, 2), (2, 1)]),
    "cut at the bottom": ((5, 4), 2, [(2, 2), (1, 2)]),
    "cut at both": ((8, 10), 3, [(3, 3), (3, 1), (2, 3), (2, 1)]),
    "one window": ((4, 4), 4, [(4, 4)]),
    "less than a window": ((2, 4), 5, [(2, 4)]),
    "bands": ((6, 4), 4, [(4, 4), (2, 4)]),
    "one row of windows": ((2, 8), 3, [(2, 3), (2, 2)]),
}


def adapter(grid, window, **changes):
    size = (grid[0] * 16, grid[1] * 16)
    network = ViTAdapter(replace(TINY, input_size=size, window=window, **changes))
    fill_seeded(network, 1)
    network.input_shape = (1, 3, *size)
    return network.double().eval()


def picture(network, batch=1):
    generator = torch.Generator().manual_seed(4)
    return torch.randn(batch, *network.input_shape[1:], generator=generator, dtype=torch.float64)


def tokens(grid, width=24):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(1, grid[0] * grid[1], width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", GRIDS)
def test_there_and_back(case):
    grid, window, sizes = GRIDS[case]
    groups = groups_of(grid, window)
    assert [(group.height, group.width) for group in groups] == sizes
    x = tokens(grid)
    ordered = ToWindows(grid, groups)(x)
    assert torch.equal(FromWindows(grid, groups)(ordered), x)
    # The first window holds the tokens of the first rows and columns, row after row.
    height, width = sizes[0]
    first = x.reshape(*grid, -1)[:height, :width].reshape(height * width, -1)
    assert torch.equal(ordered[0, : height * width], first)


@pytest.mark.parametrize("case", GRIDS)
def test_one_attention(case):
    grid, window, _ = GRIDS[case]
    plain = WindowAttend(3, 0.35, grid, window)
    groups = groups_of(grid, window)
    q, k, v = (2 * torch.roll(tokens(grid), shift, 1) for shift in (0, 1, 2))
    order, back = ToWindows(grid, groups), FromWindows(grid, groups)
    grouped = GroupedAttend(plain, groups, q)
    got = back(grouped(0.35 * order(q), order(k), order(v)))
    assert difference(got.numpy(), plain(q, k, v).numpy()) <= EXACT


@pytest.mark.parametrize("case", [case for case in GRIDS if case != "one row of windows"])
def test_the_whole_network(case):
    grid, window, _ = GRIDS[case]
    if grid[0] % 2 or grid[1] % 2:  # the network wants multiples of 32 pixels
        grid = (grid[0] + grid[0] % 2, grid[1] + grid[1] % 2)
    network = adapter(grid, window)
    x = picture(network)
    with torch.no_grad():
        wanted = network(x)
        rewritten = order_windows(deepcopy(network), x)
        got = rewritten(x)
    for one, other in zip(got, wanted, strict=True):
        assert difference(one.numpy(), other.numpy()) <= EXACT
    assert not any(isinstance(module, WindowAttend) for module in rewritten.modules())
    assert sum(isinstance(module, GroupedAttend) for module in rewritten.modules()) == 4
    twice = order_windows(rewritten, x)
    with torch.no_grad():
        assert torch.equal(twice(x)[0], got[0])


def test_one_way_there_and_one_back_an_interaction():
    network = adapter((8, 10), 3)
    order_windows(network, picture(network))
    kinds = [type(module) for module in network.modules()]
    assert kinds.count(ToWindows) == kinds.count(FromWindows) == 2
    bands = adapter((6, 4), 4)
    order_windows(bands, picture(bands))
    assert not {ToWindows, FromWindows} & {type(module) for module in bands.modules()}


def test_whole_windows_stay_plain_attention():
    network = adapter((4, 6), 2)
    order_windows(network, picture(network))
    grouped = [m for m in network.modules() if isinstance(m, GroupedAttend)]
    assert [type(attend) for attend in grouped[0].attends] == [Attend]
    cut = adapter((8, 10), 3)
    order_windows(cut, picture(cut))
    grouped = [m for m in cut.modules() if isinstance(m, GroupedAttend)]
    assert [type(attend) for attend in grouped[0].attends] == [Attend, *[FilledAttend] * 3]


def test_global_attention_batches_and_other_networks_stay():
    for network, batch in ((adapter((4, 6), 2, global_every=0), 1), (adapter((4, 6), 2), 2)):
        before = [(name, id(module)) for name, module in network.named_modules()]
        order_windows(network, picture(network, batch))
        assert [(name, id(module)) for name, module in network.named_modules()] == before
    other = nn.Sequential(Attention(12, 3))
    assert order_windows(other, torch.zeros(1, 3, 4, 4)) is other
