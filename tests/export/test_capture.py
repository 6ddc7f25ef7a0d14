"""Capturing a network for every exporter."""

import warnings

import pytest
import torch
from torch import nn

from edgevit_export.capture import capture
from edgevit_export.errors import LoweringFailed


def test_the_program_computes_what_the_network_computes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(1, 3, 6, 6)
    program = capture(model, (x,))
    assert torch.allclose(program.module()(x), model(x), atol=1e-6)


def test_training_mode_is_refused():
    with pytest.raises(LoweringFailed, match=r"in training mode; call \.eval\(\)"):
        capture(nn.Linear(2, 2), (torch.zeros(1, 2),))


class Warns(nn.Module):
    def forward(self, x):
        warnings.warn("of somebody else's code", DeprecationWarning, stacklevel=1)
        return x + 1


def test_others_deprecations_stay_quiet_and_filters_come_back():
    before = list(warnings.filters)
    capture(Warns().eval(), (torch.zeros(2),))
    assert warnings.filters == before


class Fails(nn.Module):
    def forward(self, x):
        raise ValueError("first line\nsecond line")


class Silent(nn.Module):
    def forward(self, x):
        raise ValueError


class Interrupted(nn.Module):
    def forward(self, x):
        raise KeyboardInterrupt


@pytest.mark.parametrize("model", [Fails(), Silent()], ids=["said", "silent"])
def test_a_failure_is_one_sentence(model):
    with pytest.raises(LoweringFailed, match=r"torch\.export could not capture") as caught:
        capture(model.eval(), (torch.zeros(2),))
    assert "\n" not in caught.value.message
    assert caught.value.__cause__ is not None


def test_ctrl_c_passes():
    with pytest.raises(KeyboardInterrupt):
        capture(Interrupted().eval(), (torch.zeros(2),))


def test_gradients_are_on_again():
    capture(nn.Identity().eval(), (torch.zeros(2),))
    assert torch.is_grad_enabled()
