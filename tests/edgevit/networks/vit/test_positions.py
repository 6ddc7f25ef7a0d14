"""Position tables on another grid: the three rules against an independent restatement."""

import math

import numpy as np
import pytest
import torch

from edgevit.errors import CheckpointError
from edgevit.networks.vit.positions import resize_table

FLOAT32 = 1e-5  # what float32 taps and sums may lose


# The rules once more, tap by tap.


def cubic(x, a):
    x = abs(x)
    if x < 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def timm_taps(old, new):
    """PIL's bicubic: a = -0.5, as wide as the shrinkage, renormalized where the edge cuts it."""
    matrix = np.zeros((new, old))
    wide = max(old / new, 1)
    for i in range(new):
        center = (i + 0.5) * old / new
        for j in range(old):
            matrix[i, j] = cubic((j + 0.5 - center) / wide, -0.5)
        matrix[i] /= matrix[i].sum()
    return matrix


def deit_taps(old, new):
    """Four taps with a = -0.75 around the half-pixel position, the edge repeated."""
    matrix = np.zeros((new, old))
    for i in range(new):
        at = (i + 0.5) * old / new - 0.5
        for tap in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(tap, 0), old - 1)] += cubic(at - tap, -0.75)
    return matrix


def google_taps(old, new):
    """Linear between neighbors, corners on corners."""
    at = np.linspace(0, old - 1, new)
    return np.stack([np.interp(at, np.arange(old), row) for row in np.eye(old)], axis=1)


TAPS = {"timm": timm_taps, "deit": deit_taps, "google": google_taps}


def restated(table, prefix, held, grid, rule):
    patches = table[0, prefix:].reshape(*held, -1)
    rows, columns = (TAPS[rule](old, new) for old, new in zip(held, grid, strict=True))
    resized = np.einsum("ih,jw,hwd->ijd", rows, columns, patches)
    return np.concatenate([table[0, :prefix], resized.reshape(grid[0] * grid[1], -1)])[None]


def table_of(rows, seed=1):
    return np.random.default_rng(seed).standard_normal((1, rows, 6)).astype(np.float32)


@pytest.mark.parametrize("rule", ["timm", "deit", "google"])
@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize(
    ("held", "grid"),
    [(14, (24, 24)), (24, (14, 14)), (14, (7, 20)), (7, (12, 9)), (3, (1, 5)), (1, (2, 3))],
)
def test_position_rules(rule, prefix, held, grid):
    table = table_of(prefix + held * held)
    found = resize_table(torch.from_numpy(table), prefix, grid, rule).numpy()
    wanted = restated(table.astype(np.float64), prefix, (held, held), grid, rule)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.array_equal(found[:, :prefix], table[:, :prefix])
    assert np.abs(found - wanted).max() < FLOAT32


def test_the_rules_differ():
    table = torch.from_numpy(table_of(1 + 14 * 14))
    resized = [resize_table(table, 1, (24, 24), rule) for rule in ("timm", "deit", "google")]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (resized[a] - resized[b]).abs().max() > 0.05


def test_google_keeps_the_zeros_that_scipys_rounding_makes():
    # 27 / 23 * 23 is a hair above 27 in float64, so scipy reads outside: the reference has zeros.
    table = torch.from_numpy(table_of(28 * 28))
    found = resize_table(table, 0, (24, 24), "google").reshape(24, 24, 6)
    assert not found[-1].any()
    assert not found[:, -1].any()
    assert (found[:-1, :-1].abs().amax(-1) > 0).all()


def test_a_table_of_the_inputs_grid_stays_to_the_bit():
    for rows, grid, prefix in ((1 + 196, (14, 14), 1), (2 + 24, (4, 6), 2), (196, (14, 14), 0)):
        table = torch.from_numpy(table_of(rows))
        assert resize_table(table, prefix, grid, "timm") is table


def test_which_grid_a_table_stands_for():
    table = table_of(1 + 144)
    square = resize_table(torch.from_numpy(table), 1, (9, 16), "deit").numpy()
    assert np.abs(square - restated(table, 1, (12, 12), (9, 16), "deit")).max() < FLOAT32
    told = torch.from_numpy(table)
    assert resize_table(told, 1, (9, 16), "deit", stored=(9, 16)) is told
    wide = resize_table(told, 1, (8, 18), "timm", stored=(9, 16)).numpy()
    assert np.abs(wide - restated(table, 1, (9, 16), (8, 18), "timm")).max() < FLOAT32
    with pytest.raises(CheckpointError, match="144 rows for patches, not 9x15"):
        resize_table(told, 1, (9, 16), "deit", stored=(9, 15))
    with pytest.raises(CheckpointError, match="make no square and not the input's 14x14") as caught:
        resize_table(torch.from_numpy(table_of(1 + 150)), 1, (14, 14), "timm")
    assert "table=14x28" in caught.value.next


@pytest.mark.parametrize(("rows", "prefix"), [(14 * 14, 1), (37 * 37, 1), (24 * 24, 2)])
def test_a_table_without_a_row_for_the_class_token_is_another_networks(rows, prefix):
    with pytest.raises(CheckpointError, match=f"has {rows} rows, all of them for patches and none"):
        resize_table(torch.from_numpy(table_of(rows)), prefix, (14, 14), "timm")
