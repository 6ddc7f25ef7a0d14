"""ViT-Adapter's cards against the networks they describe and the specification's table."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgevit.data.scenes import CLASSES
from edgevit.networks.vit_adapter import checkpoint as layout
from edgevit.networks.vit_adapter.cards import CARDS
from edgevit.networks.vit_adapter.network import CONFIGS, build
from edgevit.networks.vit_adapter.upernet import FCNHead, UPerHead

BY_NAME = {card.name: card for card in CARDS}

# The specification's table: millions of parameters, GMACs of the features.
PARAMS = {"t": 7.967, "s": 27.504, "b": 99.495, "l": 326.97}
UPERNET_PARAMS = {"t": 36.06, "s": 57.62, "b": 133.64, "l": 363.80}
GMACS_256 = {"t": 4.26, "s": 11.60, "b": 35.65, "l": 101.8}
GMACS_512 = {"t": 20.67, "s": 53.63, "b": 157.1, "l": 445.7}
GMACS_DET = {"t": 18.51, "s": 49.31, "b": 148.5, "l": 416.9}


def on_meta(card, size=None, all_outputs=False):
    config = layout.configure(card, size or card.input_size, None, {})
    with torch.device("meta"):
        return build(card, config, all_outputs).eval()


def gmacs_of(network, size):
    """Convolutions' and matrix products' MACs in billions."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 2e9


# What a card says of its network, tests/edgevit/networks/test_zoo.py compares with the network.
def test_every_card_is_of_the_adapter():
    for card in CARDS:
        assert (card.architecture, card.size_multiple) == ("vit_adapter", 32), card.name


def rounded(value, like):
    """To as many digits as the table has."""
    return round(value, len(str(like).partition(".")[2]))


@pytest.mark.parametrize("variant", ["t", "s", "b", "l"])
def test_counts_are_the_specifications(variant):
    card, det = BY_NAME[f"vit-adapter-{variant}"], BY_NAME[f"vit-adapter-{variant}-det"]
    assert rounded(card.params / 1e6, PARAMS[variant]) == PARAMS[variant]
    assert det.params == card.params
    assert rounded(card.gmacs, GMACS_512[variant]) == GMACS_512[variant]
    assert rounded(det.gmacs, GMACS_DET[variant]) == GMACS_DET[variant]
    small = gmacs_of(on_meta(card, (256, 256)), (256, 256))
    assert rounded(small, GMACS_256[variant]) == GMACS_256[variant]
    whole = BY_NAME[f"vit-adapter-{variant}-upernet"].params / 1e6
    assert abs(whole - UPERNET_PARAMS[variant]) < 0.006  # the table's 57.62 is 57.615, rounded up


def test_all_names_are_there():
    names = [f"vit-adapter-{v}{s}" for s in ("", "-det", "-upernet") for v in "tsbl"]
    assert list(BY_NAME) == [*names, "vit-adapter-micro-upernet"]


def test_the_published_counts_include_the_auxiliary_head():
    network = on_meta(BY_NAME["vit-adapter-s-upernet"])
    heads = {
        type(module): sum(p.numel() for p in module.parameters())
        for module in network.children()
        if isinstance(module, UPerHead | FCNHead)
    }
    assert heads[FCNHead] == 9 * 384 * 256 + 2 * 256 + 256 * 150 + 150
    total = BY_NAME["vit-adapter-s-upernet"].params
    assert total == BY_NAME["vit-adapter-s"].params + sum(heads.values())


def test_windows_are_where_the_detection_configs_have_them():
    for variant, every in (("t", 3), ("s", 3), ("b", 3), ("l", 6)):
        config = CONFIGS[f"{variant}-det"]
        whole = [i for i in range(config.depth) if config.is_global(i)]
        assert whole == list(range(every - 1, config.depth, every))
        assert config.window == 14
        assert config.vit_features == "last"
        assert all(CONFIGS[variant].is_global(i) for i in range(config.depth))


def test_the_micro_network_is_small_and_whole():
    card, config = BY_NAME["vit-adapter-micro-upernet"], CONFIGS["micro"]
    assert card.params < 1_000_000
    assert (config.head_channels, config.num_classes) == (64, len(CLASSES))
    assert (config.interactions, config.vit_features, config.conv_ffn) == (4, "stages", True)
    state = on_meta(card).state_dict()
    header = sum(len(key) + 90 for key in state)
    assert sum(2 * value.numel() for value in state.values()) + header < 2_000_000
