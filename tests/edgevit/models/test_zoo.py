"""Every name builds, has the parameters and MACs of its card, and returns what the card says."""

import re
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import edgevit
from edgevit.create import create_model
from edgevit.errors import UsageError
from edgevit.models.layers import Network
from edgevit.models.topformer import build, config_of
from edgevit.models.zoo import MODELS, list_models, model_card


def parameters(network: Network) -> int:
    return sum(p.numel() for p in network.parameters())


def gmacs(network: Network) -> float:
    """Convolutions and matrix products of one forward, in units of 1e9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), torch.device("meta"):
        network(torch.empty(network.input_shape))
    return counter.get_total_flops() / 2e9


@pytest.fixture(params=sorted(MODELS))
def name(request):
    return request.param


@pytest.fixture
def meta(name):
    with torch.device("meta"):
        return create_model(name)


def test_the_card_counts_what_the_network_has(name, meta):
    assert parameters(meta) == model_card(name).params


def test_the_card_gives_the_macs_of_its_input_size(name, meta):
    assert meta.input_shape == (1, 3, *model_card(name).input_size)
    assert f"{gmacs(meta):.4f}" == f"{model_card(name).gmacs:.4f}"


def test_outputs_are_as_many_and_as_large_as_the_card_says(name, meta):
    card = model_card(name)
    with torch.no_grad():
        out = meta(torch.empty(meta.input_shape, device="meta"))
    outputs = out if isinstance(out, tuple) else (out,)
    assert meta.output_names == card.outputs
    assert len(outputs) == len(card.outputs)
    height, width = card.input_size
    for label, value in zip(card.outputs, outputs, strict=True):
        if card.task == "classification":
            assert value.shape == (1, card.num_classes)
        elif card.architecture == "topformer":
            stride = 8 if label == "logits" else int(label.removeprefix("scale"))
            assert value.shape[-2:] == (height // stride, width // stride)
        if card.task == "segmentation":
            assert value.shape[1] == card.num_classes


def test_networks_come_in_eval_mode_and_with_float32_parameters(meta):
    assert not any(module.training for module in meta.modules())
    assert {p.dtype for p in meta.parameters()} == {torch.float32}


def test_a_card_is_whole(name):
    card = model_card(name)
    assert card.name == name
    assert name.startswith(f"{card.architecture}-{card.variant}")
    assert card.params > 0
    assert card.gmacs > 0
    assert all(side % card.size_multiple == 0 for side in card.input_size)
    assert all(p.metric and p.source and p.value > 0 for p in card.published)
    assert card.license


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


@pytest.mark.parametrize("case", OTHERS)
def test_published_configurations_beside_the_cards(case):
    variant, size, changes, wanted, with_statistics, wanted_gmacs = OTHERS[case]
    with torch.device("meta"):
        config = replace(config_of(variant, "segmentation"), **changes)
        network = build("segmentation", config, False)
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
