"""What equalization does to ranges, and to networks that were badly scaled on purpose."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.networks.parts.norm_readers import ScaledNorm
from edgevit.networks.passes.fold_norm_affines import fold_norm_affines
from edgevit.quantize.weights.equalize import (
    bounded,
    equalize_layers,
    equalize_norms,
    one_range,
    own_norms,
    smooth_norms,
    smooth_values,
    smoothing,
)
from edgevit.quantize.weights.places import (
    channels_of,
    layer_places,
    norm_places,
    reader_of,
    rescale,
    value_places,
)
from edgevit.quantize.weights.streaming import ranges

WAYS = {
    # edit, its places, a network, and by how many decibels it must be better
    "norms by range": (equalize_norms, norm_places, "vit-mean", 8),
    "norms by exponent": (smooth_norms, norm_places, "vit-mean", 8),
    "norms of a pose network": (equalize_norms, norm_places, "vitpose", 6),
    "values": (smooth_values, value_places, "vit-mean", 3),
    "layers": (equalize_layers, layer_places, "topformer", 6),
    "layers of an adapter": (equalize_layers, layer_places, "adapter-upernet", 3),
}


@torch.no_grad()
def badly_scaled(network, find, spread=1.5):
    """The same function, with channels of one place up to some hundred times as large as others."""
    network = deepcopy(network).double()
    generator = torch.Generator().manual_seed(7)
    for place in find(network):
        scale = spread * torch.randn(channels_of(place), generator=generator, dtype=torch.float64)
        rescale(place, torch.exp(scale))
    return network


@pytest.mark.parametrize("way", WAYS)
def test_a_badly_scaled_network_becomes_better(way, tiny, drawn, decibels):
    edit, find, name, margin = WAYS[way]
    network, samples = tiny(name), drawn(tiny(name).input_shape, 8)
    bad = badly_scaled(network, find)
    before = decibels(bad, samples, network)
    assert edit(bad, samples) > 0
    assert decibels(bad, samples, network) >= before + margin


@torch.no_grad()
def test_every_channel_gets_one_range(tiny, drawn):
    network = deepcopy(tiny("vit-mean"))
    samples = drawn(network.input_shape)
    places = norm_places(network)
    readers = [reader_of(place.readers[0]) for place in places]
    seen = ranges(network, samples, readers)
    for place in places:
        full = one_range(place, seen)[1]
        rescale(place, full.scale.float(), full.shift.float())
    after = ranges(network, samples, readers)
    for reader in readers:
        one = after[reader]
        assert torch.allclose(one.high, one.high.mean(), atol=1e-4)
        assert torch.allclose(one.low, one.low.mean(), atol=1e-4)
        before = seen[reader]
        assert float((before.high - before.low).std()) > 0.1


@torch.no_grad()
def test_a_scale_alone_where_a_shift_may_not_pass(tiny, drawn):
    network = deepcopy(tiny("vitpose"))
    (place,) = (place for place in norm_places(network) if not place.shifts)
    reader = reader_of(place.readers[0])
    full = one_range(place, ranges(network, drawn(network.input_shape), [reader]))[1]
    assert full.shift is None
    rescale(place, full.scale.float())
    largest = ranges(network, drawn(network.input_shape), [reader])[reader].largest
    assert torch.allclose(largest, largest.mean(), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (equalize_norms, "vit"),
        (smooth_norms, "vit"),
        (smooth_values, "vit"),
        (equalize_layers, "topformer"),
    ],
)
def test_dead_channels(edit, name, tiny, drawn):
    network = deepcopy(tiny(name)).double()
    for find in (norm_places, value_places, layer_places):
        for place in find(network)[::2]:
            for part in (*place.makers, *place.readers):
                for tensor in (part.layer.weight, part.layer.bias):
                    if tensor is not None:
                        tensor[: len(tensor) // 2] = 0  # half of the channels say nothing
    edit(network, drawn(network.input_shape))
    assert all(torch.isfinite(value).all() for value in network.parameters())


def test_constant_samples_do_not_divide_by_zero(tiny):
    network = deepcopy(tiny("topformer")).double()
    equalize_layers(network, [torch.zeros(network.input_shape)])
    assert all(torch.isfinite(value).all() for value in network.parameters())


def test_bounds():
    assert torch.equal(bounded(torch.zeros(3)), torch.ones(3))
    assert bounded(torch.tensor([0.0, 2.0])).tolist() == pytest.approx([0.002, 2])


@torch.no_grad()
def test_an_exponent_of_one_makes_all_values_as_large(tiny, drawn):
    network = tiny("vit")
    place = norm_places(network)[0]
    reader = reader_of(place.readers[0])
    seen = ranges(network, drawn(network.input_shape), [reader])
    scale = smoothing(place, seen)[-1].scale
    assert (seen[reader].largest / scale).std() < 1e-5


def test_a_norm_that_was_scaled_is_not_folded_away(tiny):
    network = deepcopy(tiny("vit"))
    own_norms(network)
    own_norms(network)  # once is enough
    fold_norm_affines(network)
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert [type(m) for m in norms] == [ScaledNorm] * len(norms)
    assert all(m.elementwise_affine for m in norms)
