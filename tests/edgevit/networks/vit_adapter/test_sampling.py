"""Deformable attention without grid_sample, and with less of it, against the plain one."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.difference import difference
from edgevit.networks.vit_adapter import dense_sampling, gather_sampling
from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.dense_sampling import (
    DenseAttention,
    bound_gathers,
    sample_by_products,
)
from edgevit.networks.vit_adapter.fold_sampling import GridAttention, fold_sampling_units
from edgevit.networks.vit_adapter.gather_sampling import GatheredAttention, sample_by_rows
from edgevit.networks.vit_adapter.network import CONFIGS

EXACT = 1e-9  # the line's bound in float64
FP32 = 1e-5
FORMS = (DenseAttention, GatheredAttention, GridAttention)
ONE, THREE = ((3, 5),), ((6, 10), (3, 5), (1, 3))
CASES = {
    "an injector's": (ONE, THREE),
    "an extractor's": (THREE, ONE),
    "one pixel": (((1, 1),), ((1, 1), (2, 1))),
}


def attention(queries, levels, seed=0):
    """Offsets of some pixels each way, so that many points leave their map."""
    generator = torch.Generator().manual_seed(seed)
    made = DeformableAttention(12, 3, 4, 0.5, queries, levels)
    for value in made.parameters():
        value.data = torch.randn(value.shape, generator=generator) * 0.4
    made.sampling_offsets.bias.data *= 5
    return made.double().eval()


def inputs(queries, levels, seed=1):
    generator = torch.Generator().manual_seed(seed)
    counts = (sum(h * w for h, w in grids) for grids in (queries, levels))
    return [torch.randn(1, n, 12, generator=generator, dtype=torch.float64) for n in counts]


def apart(one, other):
    return difference(one.detach().numpy(), other.detach().numpy())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_every_form_samples_as_the_plain_one(form, case):
    plain = attention(*CASES[case])
    query, value = inputs(*CASES[case])
    wanted = plain(query, value)
    assert apart(form(deepcopy(plain))(query, value), wanted) <= EXACT
    assert wanted.std() > 0.1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_float32_stays_near(form, case):
    plain = attention(*CASES[case])
    query, value = inputs(*CASES[case])
    wanted = plain(query, value)
    got = form(deepcopy(plain)).float()(query.float(), value.float())
    assert apart(got.double(), wanted) <= FP32


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("x", [-9.0, -1.5, -1.0, -0.5, 0.0, 2.25, 4.0, 4.5, 5.0, 1e4])
@pytest.mark.parametrize("y", [-1.0, 0.75, 2.0, 3.0, -1e4])
def test_points_on_borders_pixels_and_far_outside(form, x, y):
    """One query in the middle of a 3x5 map; all its points lie at (x, y)."""
    plain = attention(((1, 1),), ONE)
    with torch.no_grad():
        plain.sampling_offsets.weight.zero_()
        # The query's own place is column 2, row 1.
        plain.sampling_offsets.bias.copy_(torch.tensor([x - 2, y - 1]).repeat(12))
    query, value = inputs(((1, 1),), ONE)
    wanted = plain(query, value)
    assert apart(form(deepcopy(plain))(query, value), wanted) <= EXACT
    outside = not (-1 < x < 5 and -1 < y < 3)
    assert torch.allclose(wanted, plain.output_proj.bias) == outside


def network(count=12, case="an injector's"):
    return nn.Sequential(*(attention(*CASES[case], seed) for seed in range(count)))


def kinds(model):
    return [type(module) for module in model.children()]


PICTURE = torch.zeros(1, 3, 8, 8)


def test_small_samplings_become_products_and_large_ones_rows(monkeypatch):
    assert kinds(sample_by_products(network(), PICTURE)) == [DenseAttention] * 12
    monkeypatch.setattr(dense_sampling, "SMALL", 3 * 15 * 78 - 1)  # heads * queries * pixels
    large = sample_by_products(network(), PICTURE)
    assert kinds(large) == [DeformableAttention] * 12
    assert kinds(sample_by_rows(large, PICTURE)) == [GatheredAttention] * 12


def test_nine_may_be_gathered_and_the_first_ones_are_products(monkeypatch):
    bounded = bound_gathers(network(), PICTURE)
    assert kinds(bounded) == [DenseAttention] * 3 + [DeformableAttention] * 9
    assert kinds(bound_gathers(bounded, PICTURE)) == kinds(bounded)
    assert kinds(bound_gathers(network(9), PICTURE)) == [DeformableAttention] * 9
    monkeypatch.setattr(dense_sampling, "LARGE", 15 * 78 - 1)  # of one head
    assert kinds(bound_gathers(network(), PICTURE)) == [DeformableAttention] * 12


@pytest.mark.parametrize("together", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_heads_may_be_computed_apart(case, together):
    plain = attention(*CASES[case])
    query, value = inputs(*CASES[case])
    got = DenseAttention(deepcopy(plain), together)(query, value)
    assert apart(got, plain(query, value)) <= EXACT


@pytest.mark.parametrize("name", ["t", "s", "b", "l"])
def test_ten_pieces_at_the_default_size(name):
    """Every variant's tenth sampling is within the bound at 512 px: sizes alone, no network."""
    config = CONFIGS[name]
    queries = config.tokens[0] * config.tokens[1]
    pixels = sum(height * width for height, width in config.pyramid)
    assert config.deform_heads * queries * pixels > dense_sampling.SMALL
    assert queries * pixels <= dense_sampling.LARGE


def test_a_table_too_long_for_exact_row_numbers_is_not_made(monkeypatch):
    rows = 3 * (7 * 11 + 4 * 6 + 2 * 4)
    monkeypatch.setattr(gather_sampling, "EXACT", rows)
    assert kinds(sample_by_rows(network(2), PICTURE)) == [DeformableAttention] * 2
    monkeypatch.setattr(gather_sampling, "EXACT", rows + 1)
    assert kinds(sample_by_rows(network(2), PICTURE)) == [GatheredAttention] * 2


@pytest.mark.parametrize(
    "rewrite", [sample_by_products, bound_gathers, sample_by_rows, fold_sampling_units]
)
def test_batches_and_other_networks_stay(rewrite):
    assert kinds(rewrite(network(), PICTURE.expand(2, -1, -1, -1))) == [DeformableAttention] * 12
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4))
    before = list(other.children())
    assert list(rewrite(other, PICTURE).children()) == before


@pytest.mark.parametrize("form", [DenseAttention, GatheredAttention])
@pytest.mark.parametrize("case", CASES)
def test_the_captured_graph_has_what_delegates_take(form, case):
    """One gathering at most, no grid_sample, and rank five at most, which is Core ML's limit."""
    made = form(attention(*CASES[case])).float()
    program = torch.export.export(made, tuple(x.float() for x in inputs(*CASES[case])))
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    calls = [node for node in nodes if node.meta["val"] is not None]  # the others are assertions
    names = [node.target.overloadpacket.__name__ for node in calls]
    assert "grid_sampler_2d" not in names
    assert names.count("embedding") == (form is GatheredAttention)
    assert not {"index", "gather", "split_with_sizes", "sum", "unsqueeze", "select"} & set(names)
    assert max(node.meta["val"].ndim for node in calls) <= 5
