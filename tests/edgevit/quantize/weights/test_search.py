"""The search for a scale: what pays is taken, what does not is left."""

from copy import deepcopy

import torch

from edgevit.quantize.weights.places import channels_of, norm_places
from edgevit.quantize.weights.search import Candidate, search_scales


def searched(network, samples, *scales, shift=None):
    """Norms rescaled by the best of these powers of two a channel, alternately up and down."""

    def propose(place, seen):
        signs = torch.ones(channels_of(place), dtype=torch.float64)
        signs[::2] = -1
        moved = shift if place.shifts else None
        shifts = None if moved is None else torch.full_like(signs, moved)
        plain = Candidate(torch.ones_like(signs))
        return [plain, *(Candidate(2.0 ** (power * signs), shifts) for power in scales)]

    return search_scales(network, samples, norm_places, propose)


def test_nothing_is_better_than_a_scale_that_spoils(tiny, drawn):
    network = deepcopy(tiny("vit")).double()
    before = deepcopy(network.state_dict())
    assert searched(network, drawn(network.input_shape, 4), 3.0, -3.0) == 0
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_gain_that_is_chance_is_left(tiny, drawn):
    network = deepcopy(tiny("vit")).double()
    assert searched(network, drawn(network.input_shape, 4), 1e-4) == 0


def test_a_shift_that_spoils_is_left_and_what_undoes_it_is_taken(tiny, drawn):
    network = deepcopy(tiny("vit")).double()
    samples = drawn(network.input_shape, 4)
    assert searched(network, samples, 0.0, shift=30.0) == 0
    with torch.no_grad():
        for place in norm_places(network):
            place.makers[0].layer.bias.sub_(30)
    assert searched(network, samples, 0.0, shift=30.0) == len(norm_places(network))


def test_a_network_without_places_is_not_run(tiny):
    assert searched(deepcopy(tiny("topformer")), None) == 0


def test_samples_are_read_twice(tiny, drawn):
    samples = drawn(tiny("vit").input_shape, 4)
    searched(deepcopy(tiny("vit")).double(), samples, 1.0)
    assert samples.readings == 2
