"""4-bit weights in torch: what they round to, what gradients see, and what is left of them."""

import pytest
import torch
from torch import nn

from edgevit_export.errors import Unsupported
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme

with quiet():  # torchao tells of every CUDA library it does not find
    from edgevit_export.quantization.dynamic import GROUP, dynamic
    from edgevit_export.quantization.narrow import GRIDS, HIGH, LOW, Groups, narrow

X = (torch.zeros(2, 64),)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, 3)).eval()


@pytest.mark.parametrize("grid", GRIDS)
def test_a_group_has_sixteen_values_at_most_and_its_largest_among_them(grid):
    rounds = Groups()
    rounds.grid = grid
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(1))
    found = rounds(weight).reshape(4, 2, GROUP)
    for own, group in zip(weight.reshape(-1, GROUP), found.reshape(-1, GROUP), strict=True):
        step = own.abs().max() / grid
        numbers = group / step
        assert torch.allclose(numbers, numbers.round(), atol=1e-4)
        assert numbers.min() >= LOW - 1e-4
        assert numbers.max() <= HIGH + 1e-4
        inside = own / step <= HIGH
        assert (own - group).abs()[inside].max() <= step / 2 * 1.001


def test_a_group_of_zeros_stays_zero():
    assert not Groups()(torch.zeros(2, 64)).any()


def test_gradients_pass_the_rounding_unchanged():
    made = narrow(network(), X)
    layer = made.network[0]
    out = layer(torch.ones(1, 64)).sum()
    out.backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, torch.ones(6, 64))


def test_layers_in_whole_groups_round_and_the_rest_is_left():
    own, made = network(), narrow(network(), X)
    assert list(made.layers) == ["0"]  # the other has 6 inputs
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(2))
    (found,) = made.run(x)
    assert 1e-4 < (found - own(x)).abs().max() < 0.5
    before = made.network[0].weight.detach().clone()
    made.use(GRIDS[1])
    assert not torch.equal(made.network[0].weight, before)


def test_the_plain_network_has_the_weights_that_were_rounded():
    own = network()
    made = narrow(own, X)
    plain = made.plain()
    assert isinstance(plain[0], nn.Linear)
    assert {*dict(plain.named_parameters())} == {*dict(own.named_parameters())}
    for name, value in own.named_parameters():
        assert torch.equal(dict(plain.named_parameters())[name], value)


@pytest.mark.parametrize(
    ("model", "floats"),
    [
        (nn.Sequential(nn.Linear(64, 4)), ("0",)),
        (nn.Sequential(nn.Linear(64, 4)), ("*",)),
        (nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3)), ()),
    ],
    ids=["by name", "by pattern", "convolutions alone"],
)
def test_a_network_without_such_layers_is_refused(model, floats):
    with pytest.raises(Unsupported, match="linear layers in this"):
        narrow(model.eval(), X, floats)


def test_a_network_without_whole_groups_is_refused():
    with pytest.raises(Unsupported, match="whole groups of 32"):
        narrow(nn.Sequential(nn.Linear(33, 4)).eval(), (torch.zeros(1, 33),))


def test_the_first_grid_is_that_of_executorch_files():
    model = nn.Sequential(nn.Linear(64, 6)).eval()
    own = narrow(model, X)
    with quiet():
        written, facts = dynamic(model, X, Scheme("w4"))
        found = written[0].weight.dequantize()
    assert facts["four_bit_layers"] == 1
    assert torch.allclose(own.network[0].weight, found, atol=1e-6)
