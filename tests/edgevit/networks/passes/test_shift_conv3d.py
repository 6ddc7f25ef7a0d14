"""Convolutions and pools over time as 2-D ones on frames, in float64."""

import pytest
import torch
from torch import nn

from edgevit.networks.passes.shift_conv3d import (
    FramePool,
    ShiftedConv,
    WindowConv,
    shift_conv3d,
    shifted,
)

POOLING = {"kernel_size": 3, "padding": 1, "groups": 6}
PATCHES = {"kernel_size": (3, 7, 7), "stride": (2, 4, 4), "padding": (1, 3, 3)}
REWRITTEN = {
    "pooling": (ShiftedConv, nn.Conv3d(6, 6, stride=1, **POOLING)),
    "strided pooling without a bias": (
        ShiftedConv,
        nn.Conv3d(6, 6, stride=(1, 4, 4), bias=False, **POOLING),
    ),
    "groups of two": (ShiftedConv, nn.Conv3d(6, 9, 3, (1, 2, 2), 1, groups=3)),
    "patches": (WindowConv, nn.Conv3d(6, 8, **PATCHES)),
    "five frames": (WindowConv, nn.Conv3d(6, 8, (5, 3, 3), (3, 2, 2), (2, 1, 1))),
    "one frame": (WindowConv, nn.Conv3d(6, 8, (1, 3, 3), 1, (0, 1, 1), bias=False)),
    "maximum": (FramePool, nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
}
LEFT = {
    "no padding in time": nn.Conv3d(6, 8, 3),
    "two taps": nn.Conv3d(6, 8, (2, 3, 3)),
    "dilated": nn.Conv3d(6, 8, 3, padding=1, dilation=(1, 1, 2)),
    "edges repeated": nn.Conv3d(6, 8, 3, padding=1, padding_mode="replicate"),
    "grouped and strided in time": nn.Conv3d(6, 6, 3, 2, 1, groups=6),
    "maximum over time": nn.MaxPool3d(3, 2, 1),
    "rounded up": nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1), ceil_mode=True),
}


def clip(batch, frames):
    generator = torch.Generator().manual_seed(frames)
    return torch.randn(batch, 6, frames, 13, 10, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize("name", REWRITTEN)
def test_equal_and_two_dimensional(name, frames, batch):
    kind, layer = REWRITTEN[name]
    network = nn.Sequential(layer).double()
    x = clip(batch, frames)
    with torch.no_grad():
        wanted = network(x)
        rewritten = shift_conv3d(network)
        got = rewritten(x)
    assert isinstance(rewritten[0], kind)
    assert not any(isinstance(m, nn.Conv3d | nn.MaxPool3d) for m in rewritten.modules())
    assert got.shape == wanted.shape
    assert torch.allclose(got, wanted, atol=1e-12)
    assert wanted.std() > 0.1


@pytest.mark.parametrize("name", LEFT)
def test_left_as_it_is(name):
    network = nn.Sequential(LEFT[name])
    assert shift_conv3d(network)[0] is LEFT[name]


def test_frames_do_not_pass_from_one_clip_to_the_next():
    frames = torch.arange(1.0, 7).reshape(6, 1, 1, 1)  # two clips of three
    later, earlier = shifted(frames, 1, 3), shifted(frames, -2, 3)
    assert later.flatten().tolist() == [0, 1, 2, 0, 4, 5]
    assert earlier.flatten().tolist() == [3, 0, 0, 6, 0, 0]
    assert shifted(frames, 0, 3) is frames
    assert not shifted(frames, 3, 3).any()
