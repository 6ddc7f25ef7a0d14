"""Running ranges, one sample at a time."""

import pytest
import torch
from torch import nn

from edgevit.errors import UsageError
from edgevit.quantize.weights.streaming import ranges, stream

SHAPE = (1, 3, 8, 8)


def layers():
    convs = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    return nn.Sequential(*convs, nn.Flatten(2), nn.Linear(36, 5))


def test_ranges_are_those_of_all_samples_together(drawn):
    network, samples = layers(), drawn(SHAPE, 5)
    read = [network[0], network[2], network[4]]
    seen = ranges(network, samples, read)
    with torch.no_grad():
        x = torch.cat(list(samples))
        for layer, inside, axis in ((read[0], x, 1), (read[1], network[:2](x), 1)):
            rows = inside.movedim(axis, -1).flatten(0, -2)
            one = seen[layer]
            assert torch.allclose(one.low, rows.amin(0))
            assert torch.allclose(one.high, rows.amax(0))
            assert torch.allclose(one.largest, rows.abs().amax(0))
            assert torch.allclose(one.mean, rows.double().mean(0))
            assert torch.allclose(one.deviation, rows.double().std(0, correction=0))
    assert len(seen[read[2]].low) == 36


@pytest.mark.parametrize(("first", "seeds"), [(0, [0, 2, 4]), (1, [1, 3])])
def test_every_second_sample(first, seeds, drawn):
    network, samples, seen = layers(), drawn(SHAPE, 5), []
    stream(network, samples, [network[0]], lambda _, x: seen.append(x), first, 2)
    every = list(samples)
    assert all(torch.equal(x, every[seed]) for x, seed in zip(seen, seeds, strict=True))


def test_the_only_sample_is_seen_from_both_sides(drawn):
    network, seen = layers(), []
    for first in (0, 1):
        stream(network, drawn(SHAPE, 1), [network[0]], lambda _, x: seen.append(x), first, 2)
    assert len(seen) == 2


def test_hooks_are_gone_after_a_failure(drawn):
    network = layers()

    def fail(number, x):
        raise KeyError

    with pytest.raises(KeyError):
        stream(network, drawn(SHAPE), [network[0]], fail)
    assert not network[0]._forward_pre_hooks


def test_what_is_not_finite_is_refused():
    network = layers()
    with pytest.raises(UsageError, match="sample 1 holds values that are not finite"):
        ranges(network, [torch.zeros(SHAPE), torch.full(SHAPE, torch.nan)], [network[0]])
    with torch.no_grad():
        network[0].bias.fill_(torch.inf)
    with pytest.raises(UsageError, match="gives values that are not finite"):
        ranges(network, [torch.zeros(SHAPE)], [network[2]])
    with pytest.raises(UsageError, match="no calibration samples"):
        ranges(network, [], [network[0]])
