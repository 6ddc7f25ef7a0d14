"""The table of weight edits, and the runner that proves each one."""

import weakref
from collections.abc import Iterator
from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from edgevit.difference import difference
from edgevit.errors import CheckFailed, UsageError
from edgevit.networks.line import TOLERANCE, count_ops, run_line
from edgevit.networks.system import ALL_FORMATS
from edgevit.networks.zoo import SYSTEMS
from edgevit.quantize.edits import (
    EDITS,
    Edit,
    edit_weights,
    edits_named,
)

EXACT = tuple(edit for edit in EDITS if edit.exact)


def worst(one, other):
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(one.input_shape, generator=generator).to(next(one.parameters()).dtype)
    pairs = zip(count_ops(one, x)[1], count_ops(other, x)[1], strict=True)
    return max(difference(a.numpy(), b.numpy()) for a, b in pairs)


def test_exact_edits_are_exact(every, drawn):
    network, rows = deepcopy(every).double(), []
    edited = edit_weights(network, drawn(network.input_shape), EXACT, rows.append)
    assert worst(edited, network) <= TOLERANCE
    assert [row.name for row in rows] == [edit.name for edit in EXACT]
    assert all(row.exact and row.difference <= TOLERANCE for row in rows)


@pytest.fixture(scope="module")
def edited(tiny, drawn):
    """A network of the table in float64, and what the exact edits make of it, once."""

    @cache
    def pair(name):
        network = deepcopy(tiny(name)).double()
        return network, edit_weights(network, drawn(network.input_shape), EXACT)

    return pair


@pytest.mark.parametrize("name", ["topformer", "vit", "t2t", "mvit", "adapter"])
@pytest.mark.parametrize("format_name", ALL_FORMATS)
def test_an_edited_network_takes_every_formats_passes(name, format_name, edited):
    network, changed = edited(name)
    assert worst(run_line(changed, "format", format_name), network) <= TOLERANCE


def test_the_given_network_stays_as_it_was(tiny, drawn):
    network = tiny("t2t")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    edited = edit_weights(network, drawn(network.input_shape), EDITS)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert next(edited.parameters()).dtype == torch.float32


def test_a_biased_edit_says_that_it_is(tiny, drawn):
    rows = []
    edit_weights(tiny("vit"), drawn(tiny("vit").input_shape), EDITS, rows.append)
    assert [row.name for row in rows if not row.exact] == ["correct-biases"]
    assert rows[-1].difference > TOLERANCE


def test_an_edit_that_moves_an_output_is_named(tiny, drawn):
    def break_it(network: nn.Module, samples: object) -> int:
        with torch.no_grad():
            network.get_parameter("head.bias").add_(1e-3)
        return 1

    with pytest.raises(CheckFailed, match="The weight edit break-it changed"):
        edit_weights(tiny("vit"), drawn(tiny("vit").input_shape), [Edit(break_it, True, "")])


class OneAtATime:
    """Samples that count how many of them are alive."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.most = shape, 0

    def __iter__(self) -> Iterator[Tensor]:
        made: list[weakref.ref[Tensor]] = []
        for seed in range(6):
            sample = torch.randn(self.shape, generator=torch.Generator().manual_seed(seed))
            made.append(weakref.ref(sample))
            yield sample
            del sample
            self.most = max(self.most, sum(ref() is not None for ref in made))

    def __len__(self) -> int:
        raise AssertionError("a list was made of the samples")


def test_samples_are_held_one_at_a_time(tiny):
    samples = OneAtATime(tiny("vit").input_shape)
    edit_weights(tiny("vit"), samples, EDITS)
    assert samples.most <= 1


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        ([], "no calibration samples"),
        (iter([torch.zeros(1, 3, 32, 48)]), "only once"),
        ([torch.full((1, 3, 32, 48), torch.nan)], "sample 0 holds values that are not finite"),
    ],
)
def test_samples_that_nothing_can_be_learned_from(samples, match, tiny):
    with pytest.raises(UsageError, match=match):
        edit_weights(tiny("vit"), samples, EDITS)


def test_networks_that_are_refused(tiny, drawn):
    samples = drawn(tiny("vit").input_shape)
    with pytest.raises(UsageError, match="training mode"):
        edit_weights(deepcopy(tiny("vit")).train(), samples, EDITS)
    broken = deepcopy(tiny("vit"))
    with torch.no_grad():
        broken.head.weight[0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"head\.weight holds values that are not finite"):
        edit_weights(broken, samples, EDITS)


def test_the_tables():
    for system in SYSTEMS.values():
        own = system.load().integers.edits
        assert [edit.name for edit in edits_named(own)] == list(own)
    assert all(edit.reason for edit in EDITS)
    assert edits_named([]) == ()
    assert [e.name for e in edits_named(["correct-biases", "smooth-norms"])] == [
        "smooth-norms",
        "correct-biases",
    ]
    with pytest.raises(UsageError, match="no weight edit 'round'"):
        edits_named(["round"])
