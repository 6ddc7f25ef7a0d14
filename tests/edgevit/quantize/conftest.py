"""Tiny networks of every architecture, rewritten as weight edits get them, and samples."""

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from edgevit.networks.create import create_model
from edgevit.networks.line import run_line
from edgevit.networks.mvitv2 import network as mvitv2
from edgevit.networks.parts.layers import Network
from edgevit.networks.seeded import fill_seeded
from edgevit.networks.t2t_vit import network as t2t_vit
from edgevit.networks.vit import network as vit
from edgevit.networks.vit_adapter import network as vit_adapter
from edgevit.networks.vitpose import network as vitpose
from edgevit.quantize.weights.correct import LAYERS
from edgevit.quantize.weights.integers import rounded_values, rounded_weight
from edgevit.quantize.weights.streaming import ranges

VIT = vit.Config(16, 32, 2, 2, num_classes=10, input_size=(32, 48))
POSE = vitpose.Config(32, 2, 2, deconv_channels=16, input_size=(64, 48))
MVIT = mvitv2.Config((1, 1, 2, 1), dim=8, heads=1, input_size=(64, 64), num_classes=5)
ADAPTER = vit_adapter.Config(
    dim=24,
    depth=4,
    heads=3,
    deform_heads=2,
    deform_ratio=0.5,
    grid=(3, 3),
    input_size=(64, 64),
    conv_inplane=4,
    window=3,
    num_classes=5,
    head_channels=6,
    aux_channels=4,
)


def t2t(name: str, **changes: object) -> Network:
    small = {"dim": 32, "depth": 2, "heads": 2, "num_classes": 6, "grid": 4, **changes}
    return t2t_vit.T2TViT(replace(t2t_vit.CONFIGS[name], **small))


TINY: Mapping[str, Callable[[], Network]] = {
    "topformer": lambda: create_model("topformer-t", input_size=(64, 96)),
    "topformer-s": lambda: create_model("topformer-s", input_size=(64, 64)),
    "topformer-cls": lambda: create_model("topformer-t-cls", input_size=(64, 64)),
    "topformer-features": lambda: create_model("topformer-t-features", input_size=(64, 64)),
    "vit": lambda: vit.VisionTransformer(VIT),
    "vit-two": lambda: vit.VisionTransformer(replace(VIT, dist_token=True, dist_head=True)),
    "vit-mean": lambda: vit.VisionTransformer(replace(VIT, pool="mean", norm_after_pool=True)),
    "vit-tanh": lambda: vit.VisionTransformer(replace(VIT, representation=24)),
    "vitpose": lambda: vitpose.ViTPose(POSE),
    "vitpose-simple": lambda: vitpose.ViTPose(replace(POSE, decoder="simple")),
    "t2t": lambda: t2t("7"),
    "t2t-t": lambda: t2t("t-14"),
    "t2t-se": lambda: t2t("14-se"),
    "t2t-ghost": lambda: t2t("16-ghost"),
    "t2t-dense": lambda: t2t("dense", dim=16, growth=8, stages=(1, 2)),
    "mvit": lambda: mvitv2.MViT(MVIT),
    "mvit-last": lambda: mvitv2.MViT(replace(MVIT, expand_in_attention=False)),
    "mvit-video": lambda: mvitv2.MViT(replace(MVIT, input_size=(4, 32, 32), cls_token=True)),
    "mvit-pyramid": lambda: mvitv2.MViTPyramid(replace(MVIT, window=8)),
    "adapter": lambda: vit_adapter.ViTAdapter(ADAPTER),
    "adapter-windows": lambda: vit_adapter.ViTAdapter(vit_adapter.with_windows(ADAPTER)),
    "adapter-upernet": lambda: vit_adapter.ViTAdapterUperNet(ADAPTER),
}


@cache
def rewritten(name: str) -> Network:
    """A network of the table after its common passes; not to be changed."""
    network = TINY[name]()
    config = network.config
    size = network.input_size or getattr(config, "input_size", None)
    size = size or (config.grid * t2t_vit.STRIDE,) * 2
    network.input_shape = (1, 3, *size)
    fill_seeded(network, 1)
    return run_line(network.eval(), "common")


class Drawn:
    """Seeded inputs, drawn anew at each reading and held one at a time."""

    def __init__(self, shape: tuple[int, ...], count: int = 2) -> None:
        self.shape, self.count, self.readings = shape, count, 0

    def __iter__(self) -> Iterator[Tensor]:
        self.readings += 1
        for seed in range(self.count):
            generator = torch.Generator().manual_seed(100 + seed)
            yield torch.randn(self.shape, generator=generator)


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], Network]:
    return rewritten


@pytest.fixture(scope="session")
def drawn() -> Callable[..., Drawn]:
    return Drawn


@pytest.fixture(params=sorted(TINY))
def every(request: pytest.FixtureRequest) -> Network:
    return rewritten(request.param)


def outputs_of(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        out = network(x)
    return list(out) if isinstance(out, tuple) else [out]


@torch.no_grad()
def quantized(network: Network, samples: Drawn) -> Network:
    """A copy whose linear layers and convolutions read rounded inputs, ranges from the samples, and
    have rounded weights.
    """
    network = deepcopy(network).float()
    layers = [m for m in network.modules() if isinstance(m, LAYERS)]
    seen = ranges(network, samples, layers)
    for layer, one in seen.items():
        low, high = one.low.min(), one.high.max()

        def rounded(
            _: nn.Module, inputs: tuple[Tensor], low: Tensor = low, high: Tensor = high
        ) -> tuple[Tensor]:
            return (rounded_values(inputs[0], low, high),)

        layer.register_forward_pre_hook(rounded)
        layer.weight.copy_(rounded_weight(layer, layer.weight))
    return network


def signal_to_noise(network: Network, samples: Drawn, reference: Network) -> float:
    """Decibels by which the outputs of the reference outweigh the error of the rounded network, on
    inputs that the samples do not have.
    """
    rounded, signal, noise = quantized(network, samples), 0.0, 0.0
    for seed in range(4):
        x = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(seed))
        pairs = zip(outputs_of(rounded, x), outputs_of(reference, x), strict=True)
        for got, want in pairs:
            signal += float(want.square().sum())
            noise += float((got - want).square().sum())
    return 10 * math.log10(signal / noise)


@pytest.fixture(scope="session")
def decibels() -> Callable[..., float]:
    return signal_to_noise
