"""Transposed convolutions as ordinary ones."""

import pytest
import torch
from torch import nn

from edgevit.networks.line import run_line
from edgevit.networks.passes.split_deconvs import SplitDeconv, split_deconvs, windows

# kernel, stride, padding, output padding
SPLIT = [
    (4, 2, 1, 0), (2, 2, 0, 0), (6, 2, 2, 0), (6, 3, 2, 1), (3, 3, 0, 0), (4, 4, 0, 0),
    (8, 2, 3, 0), ((4, 2), (2, 2), (1, 0), 0), ((4, 1), (2, 1), (1, 0), 0),
]  # fmt: skip
KEPT = [(3, 2, 1, 1), (4, 2, 0, 0), (5, 2, 2, 1), (2, 2, 1, 0)]


def deconv(kernel, stride, padding, more, **options):
    torch.manual_seed(0)
    return nn.ConvTranspose2d(4, 6, kernel, stride, padding, more, **options).double().eval()


def kinds(module):
    return [type(part) for part in module.modules() if not list(part.children())]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SPLIT)
@torch.no_grad()
def test_a_kernel_of_whole_strides_splits(shape, bias):
    before = nn.Sequential(deconv(*shape, bias=bias))
    x = torch.randn(2, 4, 5, 3, dtype=torch.float64)
    wanted = before(x)
    after = split_deconvs(before)
    assert isinstance(after[0], SplitDeconv)
    assert torch.allclose(after(x), wanted, atol=1e-12)


@pytest.mark.parametrize("shape", KEPT)
def test_any_other_stays(shape):
    before = nn.Sequential(deconv(*shape))
    assert kinds(split_deconvs(before)) == [nn.ConvTranspose2d]


@pytest.mark.parametrize("options", [{"groups": 2}, {"dilation": 2}])
def test_groups_and_dilation_stay(options):
    before = nn.Sequential(deconv(4, 2, 1, 0, **options))
    assert kinds(split_deconvs(before)) == [nn.ConvTranspose2d]


def test_every_tap_is_read_once():
    for kernel, stride, padding in ((4, 2, 1), (6, 3, 1), (2, 2, 0), (8, 4, 2)):
        taps = [tap for found, _ in windows(kernel, stride, padding) for tap in found]
        assert sorted(taps) == list(range(kernel))


def test_phases_of_one_window_are_one_convolution():
    (row, other) = SplitDeconv(deconv(2, 2, 0, 0), nn.Identity()).rows
    assert len(row) == len(other) == 1
    assert [len(row) for row in SplitDeconv(deconv(4, 2, 1, 0), nn.Identity()).rows] == [2, 2]


@torch.no_grad()
def test_the_relu_behind_goes_in_front_of_the_interleaving():
    before = nn.Sequential(deconv(4, 2, 1, 0), nn.Identity(), nn.ReLU())
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    wanted = before(x)
    after = split_deconvs(before)
    assert isinstance(after[0].act, nn.ReLU)
    assert isinstance(after[2], nn.Identity)
    assert torch.allclose(after(x), wanted, atol=1e-12)


def test_what_follows_otherwise_stays():
    after = split_deconvs(nn.Sequential(deconv(4, 2, 1, 0), nn.GELU(), nn.ReLU()))
    assert isinstance(after[0].act, nn.Identity)
    assert isinstance(after[2], nn.ReLU)


def test_integers_of_executorch_keep_it(vitpose_micro):
    found = {
        (name, integer): any(
            isinstance(part, SplitDeconv)
            for part in run_line(vitpose_micro, "format", name, integer=integer).modules()
        )
        for name in ("onnx", "executorch", "litert")
        for integer in (False, True)
    }
    split = {("executorch", False), ("litert", False), ("litert", True)}
    assert {key for key, is_split in found.items() if is_split} == split


@pytest.fixture
def vitpose_micro():
    from edgevit.networks.create import create_model

    return run_line(create_model("vitpose-micro", input_size=(64, 48)), "common")
