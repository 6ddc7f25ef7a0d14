"""Where a scale is free: every place of every architecture, with scales that nothing proposed."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from edgevit.difference import difference
from edgevit.networks.line import TOLERANCE, count_ops
from edgevit.networks.parts.layers import ConvBN
from edgevit.networks.parts.places import layer_of
from edgevit.quantize.weights.places import (
    channels_of,
    inputs_of,
    layer_places,
    norm_places,
    reader_of,
    rescale,
    taken,
    value_places,
    whole,
)

FINDERS = (norm_places, value_places, layer_places)
# Norms, values, layers. TopFormer-T: one pair in layer 1 and two in each of 8 others, 5 streams, 4
# MLPs, the head's sum. The adapter: 4 blocks, 4 injectors and 6 extractors with 2, 2 and 3 norms,
# the pyramid's 6 convolutions, 6 convolutional MLPs.
COUNTS = {
    "topformer": (0, 0, 27),
    "topformer-cls": (0, 0, 26),
    "vit": (5, 2, 0),
    "vitpose": (5, 2, 2),
    "t2t": (7, 2, 0),
    "mvit": (11, 0, 0),
    "adapter": (34, 14, 12),
}


def outputs(network, x):
    return count_ops(network, x)[1]


@pytest.mark.parametrize("find", FINDERS)
def test_any_scale_at_every_place_is_exact(find, every):
    network = deepcopy(every).double()
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(network.input_shape, generator=generator, dtype=torch.float64)
    before = outputs(network, x)
    for place in find(network):
        count = channels_of(place)
        scale = torch.exp(torch.randn(count, generator=generator, dtype=torch.float64))
        shift = torch.randn(count, generator=generator, dtype=torch.float64)
        rescale(place, scale, shift if place.shifts else None)
    after = outputs(network, x)
    worst = max(difference(a.numpy(), b.numpy()) for a, b in zip(after, before, strict=True))
    assert worst <= TOLERANCE


@pytest.mark.parametrize("name", COUNTS)
def test_no_place_is_missed(name, tiny):
    assert tuple(len(find(tiny(name))) for find in FINDERS) == COUNTS[name]


@pytest.mark.parametrize("find", FINDERS)
def test_a_channel_of_a_layer_is_written_or_read_at_one_place(find, every):
    for ends in ("makers", "readers"):
        seen = set()
        for place in find(every):
            for part in getattr(place, ends):
                size = channels_of(place)
                own = {(id(part.layer), part.start + at) for at in range(size)}
                assert not own & seen
                seen |= own


def test_parts_of_a_reader(tiny):
    place = next(p for p in layer_places(tiny("topformer")) if p.readers[-1].count)
    part = place.readers[-1]
    scale = 1 + torch.arange(channels_of(place))
    spread = whole(part, scale)
    assert len(spread) == inputs_of(reader_of(part))
    assert torch.equal(taken(part, spread, len(scale)), scale)
    assert set(spread[: part.start].tolist()) <= {1}


def test_a_norm_that_was_not_folded_is_no_place():
    assert layer_of(ConvBN(3, 4)) is None
    assert not layer_places(nn.Sequential(ConvBN(3, 4), nn.ReLU(), ConvBN(4, 4)))


def test_relu6_and_gelu_end_a_chain():
    for act in (nn.ReLU6(), nn.GELU()):
        assert not layer_places(nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4)))
    assert layer_places(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4)))
