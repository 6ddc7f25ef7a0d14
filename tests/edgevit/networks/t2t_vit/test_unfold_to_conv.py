"""Soft splits as convolutions against the patches they replace, in float64 and in float32."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.difference import difference
from edgevit.networks.t2t_vit.network import CONFIGS, SoftSplit, T2TViT
from edgevit.networks.t2t_vit.unfold_to_conv import SplitLinear, SplitNormLinear, unfold_to_conv

EXACT = 1e-9  # the line's bound in float64
FP32 = 1e-5
SPLITS = {"7x7": (SoftSplit(7, 4, 2), 3), "3x3": (SoftSplit(3, 2, 1), 64)}


def small(tokens, grid):
    variant = "7" if tokens == "performer" else "t-14"
    return replace(CONFIGS[variant], dim=32, depth=1, heads=2, num_classes=6, grid=grid)


def scrambled(module):
    """Random weights with nothing left at zero or one."""
    generator = torch.Generator().manual_seed(5)
    for value in module.parameters():
        start = torch.randn(value.shape, generator=generator)
        scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.3
        value.data = start * scale + (0.8 if value.ndim == 1 else 0)
    return module.eval()


def layers(kind, bias=True):
    split, channels = SPLITS[kind]
    patch = channels * split.kernel**2
    return split, scrambled(nn.LayerNorm(patch)), scrambled(nn.Linear(patch, 48, bias=bias))


def picture(*shape):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(4, 4), (16, 16), (20, 36), (33, 18)])
@pytest.mark.parametrize("kind", SPLITS)
def test_a_split_with_its_norm_and_projection(kind, size, bias):
    split, norm, linear = (part.double() for part in layers(kind, bias))
    x = picture(2, SPLITS[kind][1], *size)
    with torch.no_grad():
        wanted = linear(norm(split(x)))
        got = SplitNormLinear(split, norm, linear)(x)
    assert difference(got.numpy(), wanted.numpy()) <= EXACT
    assert wanted.std() > 0.1


@pytest.mark.parametrize("size", [(4, 4), (14, 14), (9, 20)])
def test_a_split_with_a_projection_alone(size):
    split, _, linear = (part.double() for part in layers("3x3"))
    x = picture(2, 64, *size)
    with torch.no_grad():
        wanted = linear(split(x))
        got = SplitLinear(split, linear)(x)
    assert difference(got.numpy(), wanted.numpy()) <= EXACT


@pytest.mark.parametrize(
    ("tokens", "grid"),
    [
        *(("performer", grid) for grid in (1, 2, 5, 14)),
        *(("transformer", grid) for grid in (1, 2, 5)),  # its attention is quadratic
    ],
)
def test_the_whole_network(tokens, grid):
    network = scrambled(T2TViT(small(tokens, grid))).double()
    x = picture(1, 3, grid * 16, grid * 16)
    with torch.no_grad():
        wanted = network(x)
        rewritten = unfold_to_conv(deepcopy(network))
        got = rewritten(x)
    assert difference(got.numpy(), wanted.numpy()) <= EXACT
    assert wanted.std() > 0.1
    assert not any(isinstance(module, SoftSplit) for module in rewritten.modules())
    kinds = [type(module) for module in rewritten.tokens_to_token.children()][:3]
    assert kinds == [SplitNormLinear, SplitNormLinear, SplitLinear]


def test_no_patch_is_laid_out_in_the_captured_graph():
    network = scrambled(T2TViT(small("performer", 2)))
    x = picture(1, 3, 32, 32).float()
    before = torch.export.export(network, (x,))
    after = torch.export.export(unfold_to_conv(deepcopy(network)), (x,))
    assert "im2col" in str(before.graph)
    assert "im2col" not in str(after.graph)
    assert torch.allclose(before.module()(x), after.module()(x), atol=1e-5)


def test_running_twice_changes_nothing_and_other_networks_stay():
    network = unfold_to_conv(scrambled(T2TViT(small("transformer", 2))))
    names = [name for name, _ in network.named_modules()]
    x = picture(1, 3, 32, 32).float()
    with torch.no_grad():
        assert torch.equal(unfold_to_conv(network)(x), network(x))
    assert [name for name, _ in network.named_modules()] == names
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4))
    assert unfold_to_conv(other) is other


def wall(level, noise):
    """A picture of one gray after normalization, in steps of 1/255."""
    pixels = (level * 255 + noise * picture(1, 3, 64, 64)).round().clamp(0, 255) / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    return (pixels - mean) / torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


INPUTS = {
    "noise": ("7x7", picture(1, 3, 64, 64)),
    "white wall": ("7x7", wall(1, 0)),
    "light wall with noise": ("7x7", wall(0.97, 1)),
    "one value": ("7x7", torch.full((1, 3, 64, 64), 2.0)),
    "zeros": ("7x7", torch.zeros(1, 3, 64, 64)),
    "map": ("3x3", picture(1, 64, 28, 28)),
    "map with a common mean": ("3x3", 1 + 0.1 * picture(1, 64, 28, 28)),
    "map with means a channel": (
        "3x3",
        3 * picture(1, 64, 1, 1) + 0.1 * picture(1, 64, 28, 28),
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_float32_is_as_near_to_float64_as_bounds_ask(name):
    kind, x = INPUTS[name]
    parts = layers(kind)
    exact = [deepcopy(part).double() for part in parts]
    x = x.float()
    with torch.no_grad():
        wanted = exact[2](exact[1](exact[0](x.double())))
        got = SplitNormLinear(*parts)(x)
    assert difference(got.numpy(), wanted.numpy()) <= FP32


def test_the_short_form_would_not_be():
    """E[x^2] - mu^2 on the same light wall: why the pass takes the longer way."""
    split, norm, linear = layers("7x7")
    x = wall(0.97, 1).float()
    patches = split(x)
    with torch.no_grad():
        wanted = linear.double()(norm.double()(patches.double()))
        mean = patches.mean(-1, keepdim=True)
        variance = (patches * patches).mean(-1, keepdim=True) - mean * mean
        scale = torch.rsqrt(variance + norm.eps)
        weight = (linear.weight * norm.weight).float()
        got = (patches @ weight.T - mean * weight.sum(1)) * scale
        got = got + (linear.weight @ norm.bias + linear.bias).float()
    assert difference(got.numpy(), wanted.numpy()) > 3 * FP32


def test_a_constant_before_the_split_meets_weights_that_sum_to_zero():
    rewritten = SplitNormLinear(*(part.double() for part in layers("3x3")))
    assert rewritten.within.weight.sum(1).abs().max() < 1e-12
    assert rewritten.between.weight.sum(1).abs().max() < 1e-12
