"""Pools of fixed windows against torch's adaptive pooling."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgevit.networks.create import create_model
from edgevit.networks.parts.layers import GlobalPool
from edgevit.networks.passes.fix_pools import (
    MatrixPool,
    WindowPool,
    averaging_matrix,
    fix_pools,
    fixed_pool,
)

side = st.integers(1, 60)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(height=side, width=side, data=st.data())
def test_any_size_to_any_grid(height, width, data):
    grid = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    x = torch.randn(1, 2, height, width, dtype=torch.float64)
    pooled = fixed_pool((height, width), grid, torch.float64)(x)
    assert torch.allclose(pooled, F.adaptive_avg_pool2d(x, grid), atol=1e-13)


@pytest.mark.parametrize(
    ("size", "grid", "kind"),
    [
        ((8, 8), (8, 8), nn.Identity),
        ((112, 112), (7, 7), WindowPool),
        ((56, 112), (7, 8), WindowPool),
        ((120, 120), (8, 8), WindowPool),
        ((60, 60), (8, 8), MatrixPool),
        ((8, 9), (8, 4), MatrixPool),
    ],
)
def test_the_cheapest_pool_is_chosen(size, grid, kind):
    assert type(fixed_pool(size, grid, torch.float32)) is kind


def test_rows_of_the_matrix_are_averages():
    matrix = averaging_matrix(15, 8, torch.float64)
    assert matrix.shape == (8, 15)
    assert torch.allclose(matrix.sum(1), torch.ones(8, dtype=torch.float64))
    assert torch.equal(matrix[1] > 0, torch.tensor([i in (1, 2, 3) for i in range(15)]))


@pytest.mark.parametrize("size", [(224, 224), (64, 64), (65, 200), (32, 33)])
@pytest.mark.parametrize("stride", [64, 32])
def test_the_mean_over_the_tokens_is_one_window_of_their_size(size, stride, filled):
    network = filled(create_model("topformer-t-cls", input_size=size, token_stride=stride)).double()
    example = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        before = network(example)
        after = fix_pools(network, example)(example)
    windows = [m for m in network.pool.modules() if isinstance(m, WindowPool)]
    grid = tuple(-(-side // stride) for side in size)
    assert [pool.window for pool in windows] == [grid]
    assert not any(isinstance(module, GlobalPool) for module in network.modules())
    assert torch.allclose(before, after, atol=1e-12)


def test_no_hook_stays_behind():
    network = create_model("topformer-t", input_size=(64, 64)).double()
    fixed = fix_pools(network, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
    assert not any(module._forward_pre_hooks for module in fixed.modules())
