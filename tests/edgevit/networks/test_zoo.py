"""Every name builds, has the parameters and MACs of its card, and returns what the card says."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import edgevit
from edgevit.errors import UsageError
from edgevit.networks.card import ModelCard
from edgevit.networks.create import create_model
from edgevit.networks.parts.layers import Network
from edgevit.networks.topformer.network import build, config_of
from edgevit.networks.zoo import MODELS, list_models, model_card, recognize

TASKS = ("segmentation", "classification", "pose", "video", "features")
STRIDES = {
    ("topformer", "logits"): 8,
    ("vit_adapter", "logits"): 4,
    ("vitpose", "heatmaps"): 4,
    **{("mvitv2", f"p{level}"): 2**level for level in range(2, 7)},
}


def parameters(network: Network) -> int:
    return sum(p.numel() for p in network.parameters())


def gmacs(network: Network) -> float:
    """Convolutions and matrix products of one forward, in units of 1e9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        network(torch.empty(network.input_shape))
    return counter.get_total_flops() / 2e9


# The official ghost layers are depthwise convolutions and count; ours multiply, which does not:
# 16 blocks of 197 tokens, 3 * 192 channels in attention and 2 * 384 in the MLP.
RESCALED = {"t2t-vit-16-ghost": 16 * 197 * (3 * 192 + 2 * 384) / 1e9}


def check_outputs(card: ModelCard, outputs: tuple[torch.Tensor, ...]) -> None:
    """They are as many and as large as the card says."""
    assert len(outputs) == len(card.outputs)
    height, width = card.input_size[-2:]
    for label, value in zip(card.outputs, outputs, strict=True):
        if card.task in ("classification", "video"):
            assert value.shape == (1, card.num_classes)
            continue
        stride = STRIDES.get((card.architecture, label)) or int(label.removeprefix("scale"))
        assert value.shape[0] == 1
        assert value.shape[-2:] == (-(-height // stride), -(-width // stride))
        if card.num_classes is not None:
            assert value.shape[1] == card.num_classes


# On `meta` torch takes norms and samplings apart in Python, for half of a forward's time. They have
# plain shapes and no products.
def layer_normed(norm: nn.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    assert x.shape[-len(norm.normalized_shape) :] == norm.normalized_shape
    return x


def batch_normed(norm: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    assert (x.ndim, x.shape[1]) == (4, norm.num_features)
    return x


def sampled(x: torch.Tensor, grid: torch.Tensor, **_: object) -> torch.Tensor:
    assert (grid.ndim, grid.shape[0], grid.shape[-1]) == (4, x.shape[0], 2)
    return x.new_empty(*x.shape[:2], *grid.shape[1:3])


@pytest.fixture
def shapes_alone(monkeypatch):
    monkeypatch.setattr(nn.LayerNorm, "forward", layer_normed)
    monkeypatch.setattr(nn.BatchNorm2d, "forward", batch_normed)
    monkeypatch.setattr(nn.functional, "grid_sample", sampled)


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_network_is_what_its_card_says(name):
    card = model_card(name)
    with torch.device("meta"), torch.no_grad():
        network = create_model(name)
        with FlopCounterMode(display=False) as counter:
            out = network(torch.empty(network.input_shape))
    assert parameters(network) == card.params
    assert network.input_shape == (1, 3, *card.input_size)
    counted = counter.get_total_flops() / 2e9 + RESCALED.get(name, 0)
    assert counted == pytest.approx(card.gmacs, abs=6e-5)  # told with four digits
    assert network.output_names == card.outputs
    outputs = out if isinstance(out, tuple) else (out,)
    check_outputs(card, outputs)
    if (card.architecture, card.task) == ("vit_adapter", "features"):
        assert {value.shape[1] for value in outputs} == {network.config.dim}
    assert not any(module.training for module in network.modules())
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    # The shapes of a published checkpoint tell its architecture.
    found = recognize({key: tuple(value.shape) for key, value in network.state_dict().items()})
    assert found is not None
    assert model_card(found).architecture == card.architecture


def test_every_card_is_whole():
    for name in MODELS:
        card = model_card(name)
        assert card.name == name
        assert name.startswith(card.architecture.replace("_", "-"))
        assert card.variant in name
        assert card.task in TASKS, name
        assert card.params > 0, name
        assert card.gmacs > 0, name
        assert all(side % card.size_multiple == 0 for side in card.input_size[-2:]), name
        assert len(card.input_size) == (3 if card.task == "video" else 2), name
        assert all(p.metric and p.source and p.value > 0 for p in card.published), name
        assert card.license, name


def test_the_public_face_gives_the_same_table():
    assert edgevit.list_models() == list_models() == tuple(MODELS)
    assert edgevit.model_card("topformer-b").params == 5_062_646


# Section 5.3 of the specification: configurations beside the cards, by what tells them apart.
WIDE = {"num_classes": 19, "depthwise_fuse": False, "decode_channels": 128, "head_channels": 128}
OTHERS = {
    "t at 512": ("t", (512, 512), {}, 1_389_654, 1_407_862, 0.5341),
    "t at 512x704": ("t", (512, 704), {}, 1_389_654, 1_407_862, 0.7360),
    "t at 225x321": ("t", (225, 321), {}, 1_389_654, 1_407_862, 0.1619),
    "s at 448": ("s", (448, 448), {}, 3_034_662, 3_064_166, 0.8508),
    "b at 448": ("b", (448, 448), {}, 5_062_646, 5_100_950, 1.3404),
    "cocostuff171": ("t", (512, 512), {"num_classes": 171}, 1_392_363, 1_410_571, 0.5451),
    "pcontext60": ("t", (480, 480), {"num_classes": 60}, 1_378_044, 1_396_252, 0.4367),
    "pcontext59": ("t", (480, 480), {"num_classes": 59}, 1_377_915, 1_396_123, 0.4362),
    "t cityscapes": ("t", (512, 1024), WIDE, 1_389_011, 1_407_219, 1.0703),
    "b cityscapes": ("b", (512, 1024), WIDE, 4_839_667, 4_875_411, 2.6970),
    "tokens at 1/32": ("t", (512, 512), {"token_stride": 32}, 1_389_654, 1_407_862, 0.7879),
    "muli_sum_cbr": ("t", (256, 256), {"injection": "muli_sum_cbr"}, 1_389_270, 1_406_710, 0.1329),
    "fuse_sum": ("t", (256, 256), {"injection": "fuse_sum"}, 1_364_310, 1_381_750, 0.1325),
    "fuse_multi": ("t", (256, 256), {"injection": "fuse_multi"}, 1_364_310, 1_381_750, 0.1325),
}


@pytest.mark.usefixtures("shapes_alone")
@pytest.mark.parametrize("case", OTHERS)
def test_published_configurations_beside_the_cards(case):
    variant, size, changes, wanted, with_statistics, wanted_gmacs = OTHERS[case]
    with torch.device("meta"):
        card = model_card(f"topformer-{variant}")
        network = build(card, replace(config_of(card), **changes), False)
    network.eval().input_shape = (1, 3, *size)
    statistics = [b for name, b in network.named_buffers() if "running" in name]
    assert parameters(network) == wanted
    assert wanted + sum(b.numel() for b in statistics) == with_statistics
    assert f"{gmacs(network):.4f}" == f"{wanted_gmacs:.4f}"


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("topformer_t", "topformer-t"),
        ("TopFormer-B", "topformer-b"),
        ("topformer-tiny", "topformer-t"),
        ("topfromer-s-cls", "topformer-s-cls"),
    ],
)
def test_an_unknown_model_names_the_nearest(asked, near):
    with pytest.raises(UsageError, match=re.escape(repr(asked))) as caught:
        model_card(asked)
    assert f" {near}" in caught.value.message
    assert caught.value.next == "edgevit list"


def test_a_name_like_no_other_gets_no_guess():
    with pytest.raises(UsageError) as caught:
        create_model("yolov8")
    assert caught.value.message == "There is no model 'yolov8'."
