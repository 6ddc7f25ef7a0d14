"""Tiny networks of plain transformer blocks, one for every way in which they differ."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgevit.networks.parts.layers import Network
from edgevit.networks.t2t_vit import network as t2t_vit
from edgevit.networks.t2t_vit.network import T2TViT
from edgevit.networks.vit import network as vit
from edgevit.networks.vit.network import VisionTransformer
from edgevit.networks.vitpose import network as vitpose
from edgevit.networks.vitpose.network import ViTPose

VIT = vit.Config(16, 32, 2, 2, num_classes=10, input_size=(48, 64))
POSE = vitpose.Config(32, 2, 2, deconv_channels=16, input_size=(64, 48))


def t2t(name: str, **changes: object) -> Callable[[], Network]:
    small = {"dim": 32, "depth": 2, "heads": 2, "num_classes": 6, "grid": 4, **changes}
    config = replace(t2t_vit.CONFIGS[name], **small)
    return lambda: T2TViT(config)


PLAIN: Mapping[str, Callable[[], Network]] = {
    "vit": lambda: VisionTransformer(VIT),
    "vit-two-classifiers": lambda: VisionTransformer(replace(VIT, dist_token=True, dist_head=True)),
    "vit-two-tokens": lambda: VisionTransformer(replace(VIT, dist_token=True)),
    "vit-mean": lambda: VisionTransformer(replace(VIT, pool="mean", norm_after_pool=True)),
    "vit-mean-alone": lambda: VisionTransformer(replace(VIT, pool="mean", cls_token=False)),
    "vit-tanh": lambda: VisionTransformer(replace(VIT, representation=24)),
    "vitpose": lambda: ViTPose(POSE),
    "vitpose-simple": lambda: ViTPose(replace(POSE, decoder="simple")),
    "t2t": t2t("7"),
    "t2t-t": t2t("t-14"),
    "t2t-resnext": t2t("14-resnext", heads=8),
    "t2t-wide": t2t("14-wide", dim=48),
    "t2t-se": t2t("14-se"),
    "t2t-ghost": t2t("16-ghost"),
    "t2t-dense": t2t("dense", dim=16, growth=8, stages=(1, 2)),
}


def lowered_by_make_test(*names: str) -> list[object]:
    """Every network of the table; those not named are left to `make test-all`."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.full) for name in PLAIN]


@pytest.fixture(params=PLAIN)
def plain(request: pytest.FixtureRequest) -> Network:
    """Every network of the table."""
    return plain_network(request.param)


# tests/e2e/test_matrix.py lowers a ViT in float32. What a second classifier adds is folded away
# before the exporters see it.
@pytest.fixture(params=lowered_by_make_test("vitpose", "t2t"))
def plain_to_lower(request: pytest.FixtureRequest) -> Network:
    """Every network of the table, to lower in float32."""
    return plain_network(request.param)


# The matrix has no float16.
@pytest.fixture(params=lowered_by_make_test("vit-two-classifiers", "vitpose", "t2t"))
def plain_to_halve(request: pytest.FixtureRequest) -> Network:
    """Every network of the table, to lower in float16."""
    return plain_network(request.param)


@pytest.fixture(scope="session")
def plain_named() -> Callable[[str], Network]:
    return plain_network


def plain_network(name: str) -> Network:
    """A network of the table in eval mode, nothing in it left at zero or one."""
    network = PLAIN[name]()
    config = network.config
    size = getattr(config, "input_size", None) or (config.grid * t2t_vit.STRIDE,) * 2
    network.input_shape = (1, 3, *size)
    randomize(network)
    return network.eval()


def randomize(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)

    def draw(tensor: torch.Tensor, spread: float, middle: float = 0.0) -> None:
        tensor.copy_(middle + spread * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            last = name.rpartition(".")[2]
            if last in ("cls_token", "dist_token", "pos_embed"):
                draw(value, 0.3)
            elif last == "running_var":
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif value.ndim > 1:
                draw(value, value[0].numel() ** -0.5)
            elif value.is_floating_point():
                draw(value, 0.2, 1.0 if last == "weight" else 0.0)
