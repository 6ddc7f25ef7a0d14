"""ViT-Adapter's checkpoints: every official layout, what is inferred, what is refused."""

from dataclasses import replace

import pytest
import torch

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, load_strict
from edgevit.difference import difference
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.vit_adapter.cards import CARDS
from edgevit.networks.vit_adapter.checkpoint import PREFER, adapt, configure, recognize
from edgevit.networks.vit_adapter.network import (
    CONFIGS,
    ViTAdapter,
    ViTAdapterUperNet,
    build,
    light,
)
from tests.support.refused import refuse_lying_shapes

CARD = {card.name: card for card in CARDS}
UPERNET = CARD["vit-adapter-micro-upernet"]
# The micro network without its head, and as a detector's: small enough to write in every test.
FEATURES = replace(UPERNET, name="vit-adapter-micro", task="features", num_classes=None)
SIZE = (64, 96)
MICRO = replace(CONFIGS["micro"], input_size=SIZE)
DETECTION = {
    "neck.lateral_convs.0.conv.weight": torch.ones(4, 64, 1, 1),
    "rpn_head.rpn_conv.weight": torch.ones(4, 4, 3, 3),
    "roi_head.bbox_head.fc_cls.bias": torch.ones(81),
}


def start(network):
    """The network's random start with nothing that hides a part: norms and gates are moved."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point() and value.ndim < 3:
                value.add_(0.2 * torch.rand(value.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def upernet():
    torch.manual_seed(1)
    return start(ViTAdapterUperNet(MICRO, all_outputs=True))


@pytest.fixture
def state(upernet):
    return dict(upernet.state_dict())


def loaded(tensors, card=UPERNET, size=SIZE, **options):
    """A network with these tensors, as create_model builds it."""
    config = configure(card, size, None, options)
    adapted = adapt(tensors, card, config, options)
    network = build(card, adapted.config, all_outputs=True)
    left = {
        key: value
        for key, value in network.state_dict().items()
        if adapted.untrained and key.startswith(adapted.untrained)
    }
    load_strict(network, {**left, **adapted.tensors}, source="x.pth", likely=recognize)
    network.untrained = adapted.untrained
    return network.eval()


@pytest.fixture
def load(tmp_path):
    """Save a checkpoint, read it and load it."""

    def load(content, *args, **options):
        path = tmp_path / "x.pth"
        torch.save(content, path)
        return loaded(read_checkpoint(path, prefer=PREFER).tensors, *args, **options)

    return load


def image(size=SIZE):
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(2))


def same(first, second, keys=None):
    with torch.no_grad():
        a, b = first(image(first.config.input_size)), second(image(first.config.input_size))
    for key in keys or a:
        assert a[key].std() > 0.01, f"a flat {key} proves nothing"
        assert difference(a[key].numpy(), b[key].numpy()) == 0, key


def mmseg(state):
    return {"meta": {"CLASSES": ("sky", "road")}, "state_dict": state, "optimizer": {"state": {}}}


def only_backbone(state, prefix="backbone."):
    kept = {k: v for k, v in state.items() if k.startswith("backbone.")}
    return {prefix + k.removeprefix("backbone."): v for k, v in kept.items()}


def test_mmsegs_file_loads_as_it_is(load, upernet, state):
    network = load(mmseg(state))
    assert isinstance(network, ViTAdapterUperNet)
    assert network.config == MICRO
    assert network.untrained == ()
    same(upernet, network)


@pytest.mark.parametrize("container", ["state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_containers_and_data_parallel(container, prefix, load, upernet, state):
    named = {f"{prefix}{key}": value for key, value in state.items()}
    same(upernet, load({container: named} if container else named))


def test_a_file_without_counters_of_old_batch_norms_loads(load, upernet, state):
    same(upernet, load({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}))


@pytest.mark.parametrize("prefix", ["backbone.", ""])
def test_a_backbone_alone_gives_the_features(prefix, load, upernet, state):
    network = load({"state_dict": only_backbone(state, prefix)}, FEATURES)
    assert isinstance(network, ViTAdapter)
    same(upernet, network, ["scale4", "scale8", "scale16", "scale32", "vit1", "vit4"])


def test_features_leave_the_segmentation_head(load, upernet, state):
    same(upernet, load(mmseg(state), FEATURES), ["scale4", "scale32"])


def test_a_detectors_file_gives_the_detection_features(load):
    card = CARD["vit-adapter-t-det"]
    torch.manual_seed(3)
    wanted = start(ViTAdapter(replace(CONFIGS["t-det"], input_size=SIZE), all_outputs=True))
    held = {**wanted.state_dict(), **DETECTION}
    network = load({"meta": {}, "state_dict": held}, card)
    assert network.config.vit_features == "last"
    assert network.config.global_every == 3
    same(wanted, network)


def test_window_attention_is_an_option_because_no_key_tells_it(load, upernet, state):
    network = load(mmseg(state), window_attention=True)
    assert network.config.global_every == 2
    with torch.no_grad():
        got, want = network(image())["logits"], upernet(image())["logits"]
    assert got.shape == want.shape
    off = configure(CARD["vit-adapter-t-det"], SIZE, None, {"window_attention": 0})
    assert off.global_every == 0
    assert off.vit_features == "last"


def test_classes_and_widths_come_from_the_file(load):
    config = replace(MICRO, num_classes=19, head_channels=24, aux_channels=8)
    network = load(ViTAdapterUperNet(config).state_dict())
    assert network.config == config


@pytest.mark.parametrize("side", [5, 24])
def test_the_position_tables_grid_comes_from_the_file(side, load):
    torch.manual_seed(4)
    wanted = start(ViTAdapter(replace(MICRO, grid=(side, side)), all_outputs=True))
    network = load(wanted.state_dict(), FEATURES)
    assert network.config.grid == (side, side)
    same(wanted, network)


@pytest.mark.parametrize(
    ("name", "side", "recipe"),
    [
        ("b-upernet", 24, "augreg-adapter"),
        ("b", 24, "augreg-adapter"),
        ("b-upernet", 14, None),
        ("b-det", 24, None),
        ("l-upernet", 24, None),  # the card's own
    ],
)
def test_a_table_of_384_px_tells_augregs_normalization(name, side, recipe):
    card = CARD[f"vit-adapter-{name}"]
    table = {"backbone.pos_embed": torch.ones(1, 1 + side * side, 4)}
    assert adapt(table, card, CONFIGS[card.variant], {}).preparation == recipe


@pytest.mark.parametrize("size", [(128, 128), (32, 64), (96, 160)])
def test_one_file_for_every_input_size(size, load, state):
    network = load(mmseg(state), size=size)
    with torch.no_grad():
        logits = network(image(size))["logits"]
    assert logits.shape == (1, 10, size[0] // 4, size[1] // 4)


def test_a_file_without_auxiliary_head(load, upernet, state):
    network = load({k: v for k, v in state.items() if not k.startswith("auxiliary_head.")})
    assert network.auxiliary_head is None
    same(upernet, network, ["logits", "scale16"])


@pytest.mark.parametrize(
    "change",
    [
        {"layer_scale": False},
        {"extra_extractors": 0},
        {"extra_extractors": 1},
        {"conv_ffn": False},
        {"interactions": 2, "vit_features": "none"},
    ],
)
def test_parts_that_a_file_lacks(change, load):
    torch.manual_seed(6)
    config = replace(MICRO, **change)
    wanted = start(ViTAdapterUperNet(config, all_outputs=True))
    network = load(wanted.state_dict())
    assert network.config == config
    same(wanted, network)


def test_a_light_adapter_is_told_by_its_keys(load):
    torch.manual_seed(7)
    wanted = start(ViTAdapterUperNet(light(MICRO), all_outputs=True))
    for options in ({}, {"light": True}, {"light": "true"}, {"light": 1}):
        network = load(wanted.state_dict(), **options)
        assert network.config == light(MICRO)
        same(wanted, network)
    with pytest.raises(CheckpointError, match="holds a light adapter"):
        load(wanted.state_dict(), light=0)


@pytest.mark.parametrize("features", ["stages", "last"])
def test_a_light_adapter_with_convolutions(features, load):
    torch.manual_seed(8)
    config = replace(light(MICRO), conv_ffn=True)
    wanted = start(ViTAdapter(config, all_outputs=True))
    asked = replace(MICRO, vit_features=features)
    for options in ({}, {"light": 1}):
        assert adapt(wanted.state_dict(), FEATURES, asked, options).config == config
        same(wanted, load(wanted.state_dict(), FEATURES, **options))


def test_a_full_adapter_is_not_a_light_one(load, state):
    assert load(mmseg(state), light=False).config == MICRO
    with pytest.raises(CheckpointError, match="holds a full adapter, not a light one"):
        load(mmseg(state), light=True)


def deit(state):
    """DeiT's and timm's file with the same ViT in it."""
    plain = ("pos_embed", "patch_embed.", "blocks.")
    held = {
        key: value
        for key, value in only_backbone(state, "").items()
        if key.startswith(plain) and "gamma" not in key
    }
    extra = {"cls_token": torch.ones(1, 1, 64), "norm.weight": torch.ones(64)}
    extra |= {"norm.bias": torch.ones(64), "head.weight": torch.ones(1000, 64)}
    return {**extra, **held, "head.bias": torch.ones(1000)}


@pytest.mark.parametrize("container", ["model", None])
@pytest.mark.parametrize("card", [UPERNET, FEATURES])
def test_a_plain_vit_starts_the_backbone(container, card, load, state):
    content = deit(state)
    network = load({container: content} if container else content, card)
    heads = {"decode_head", "auxiliary_head"} if card is UPERNET else set()
    names = ("level_embed", "spm", "interactions", "up", "norm")
    assert set(network.untrained) == {f"backbone.{name}" for name in names} | heads
    loaded = network.state_dict()
    for key, value in content.items():
        if key.startswith(("blocks.", "pos_embed", "patch_embed.")):
            assert torch.equal(loaded[f"backbone.{key}"], value)
    assert all((loaded[f"backbone.blocks.{i}.gamma1"] == 1).all() for i in range(4))


@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (64, 3, 3, 7, 7), (64, 1, 16, 16), (64,)])
def test_other_patches_are_no_plain_vits(shape, load, state):
    with pytest.raises(CheckpointMismatch) as caught:
        load({**deit(state), "patch_embed.proj.weight": torch.ones(shape)})
    assert "patch_embed.proj.weight" in caught.value.unexpected  # by the name it has in the file


def test_a_plain_vits_stray_keys_are_named(load, state):
    with pytest.raises(CheckpointMismatch, match=r"head_dist\.weight"):
        load({**deit(state), "head_dist.weight": torch.ones(1000, 64)})


def test_stray_keys_are_named(load, state):
    for key in ("backbone.norm.weight", "decode_head.pixel_decoder.x", "backbone.blocks.4.gamma1"):
        with pytest.raises(CheckpointMismatch) as caught:
            load({**state, key: torch.ones(3)})
        assert caught.value.unexpected == (key,)


def test_a_backbone_alone_is_no_upernet(load, state):
    with pytest.raises(CheckpointMismatch) as caught:
        load(only_backbone(state))
    assert all(key.startswith("decode_head.") for key in caught.value.missing)


@pytest.mark.parametrize(("held", "name"), [("s", "t"), ("t", "b")])
def test_another_variants_file_names_it(held, name):
    with torch.device("meta"):
        given = ViTAdapter(CONFIGS[held]).state_dict()
        card = CARD[f"vit-adapter-{name}"]
        config = configure(card, (512, 512), None, {})
        adapted = adapt(given, card, config, {})
        network = build(card, adapted.config, all_outputs=False)
    with pytest.raises(CheckpointMismatch, match=f"looks like a vit-adapter-{held} checkpoint"):
        load_strict(network, adapted.tensors, source="x.pth", likely=recognize)


def test_the_two_functions_are_not_mixed(load, state):
    with pytest.raises(CheckpointError, match="holds a segmentation network") as caught:
        load(mmseg(state), CARD["vit-adapter-t-det"])
    assert caught.value.next == f"edgevit export {UPERNET.name} --weights CHECKPOINT.pth"
    detector = {**only_backbone(state), **DETECTION}
    for card in (CARD["vit-adapter-t"], CARD["vit-adapter-t-upernet"], UPERNET):
        with pytest.raises(CheckpointError, match="holds a detection network") as caught:
            load(detector, card)
        assert caught.value.next == "edgevit list"  # there is no micro detector
    with torch.device("meta"):
        named = {**ViTAdapter(CONFIGS["s"]).state_dict(), **DETECTION}
    with pytest.raises(CheckpointError, match="holds a detection network") as caught:
        adapt(named, CARD["vit-adapter-s"], CONFIGS["s"], {})
    assert caught.value.next == "edgevit export vit-adapter-s-det --weights CHECKPOINT.pth"


@pytest.mark.parametrize("prefix", ["backbone.", ""])
def test_beits_blocks_are_refused_by_name(prefix, load):
    key = f"{prefix}blocks.0.attn.relative_position_bias_table"
    for card in (UPERNET, FEATURES):
        with pytest.raises(CheckpointError, match="BEiT"):
            load({key: torch.ones(732, 3), f"{prefix}spm.fc1.bias": torch.ones(3)}, card)


def test_something_else_is_one_sentence(load):
    for card in (UPERNET, FEATURES, CARD["vit-adapter-t-det"]):
        with pytest.raises(CheckpointMismatch, match="does not fit the network") as caught:
            load({"state_dict": {"fc.weight": torch.ones(2, 2)}}, card)
        assert caught.value.unexpected == ("fc.weight",)
        assert "\n" not in caught.value.message


def test_lying_shapes_are_one_sentence(state):
    refuse_lying_shapes(
        loaded,
        state,
        (
            "decode_head.conv_seg.weight",
            "auxiliary_head.conv_seg.weight",
            "backbone.pos_embed",
            "backbone.level_embed",
            "backbone.interactions",
            "backbone.interactions.0",
            "backbone.interactions.x",
            "backbone.interactions.0.extra_extractors",
            "backbone.blocks.0.gamma1",
        ),
        ((), (3,), (0, 3, 1, 1), (1 << 20, 1, 1, 1), (7, 65, 64), (9, 9)),
    )


def test_adapting_leaves_the_given_tensors_alone(state):
    keys = list(state)
    adapted = adapt(state, FEATURES, MICRO, {})
    assert list(state) == keys
    assert all(key.startswith("backbone.") for key in adapted.tensors)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_is_recognized_by_its_own_shapes(card):
    with torch.device("meta"):
        network = build(card, configure(card, card.input_size, None, {}), all_outputs=False)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    if card.variant.endswith("-det"):
        assert recognize(shapes) == card.name.removesuffix("-det")  # the same keys
        shapes["neck.fpn_convs.0.conv.weight"] = (256, 256, 3, 3)
    assert recognize(shapes) == card.name
    bare = {key.removeprefix("backbone."): shape for key, shape in shapes.items()}
    assert recognize(bare) == card.name
    assert recognize({"level_embed": (3, 192)}) is None
    assert recognize({**bare, "level_embed": (3, 191)}) is None


def test_configure_is_the_cards_table_with_options():
    card = CARD["vit-adapter-b-upernet"]
    assert configure(card, (512, 512), None, {}) == CONFIGS["b"]
    assert configure(card, (512, 640), 19, {}) == replace(
        CONFIGS["b"], input_size=(512, 640), num_classes=19
    )
    assert configure(card, (512, 512), None, {"light": "1"}) == light(CONFIGS["b"])
    assert configure(card, (512, 512), None, {"light": 0}) == CONFIGS["b"]
    windowed = configure(CARD["vit-adapter-l"], (512, 512), None, {"window_attention": "True"})
    assert windowed.global_every == 6


@pytest.mark.parametrize("size", [(500, 512), (512, 16), (0, 32), (512,), (3, 64, 64), (48, 64)])
def test_sizes_that_do_not_fit(size):
    with pytest.raises(UsageError, match="multiples of 32") as caught:
        configure(CARD["vit-adapter-t"], size, None, {})
    assert caught.value.next == "edgevit info vit-adapter-t"


@pytest.mark.parametrize(
    "options", [{"light": "perhaps"}, {"light": None}, {"window_attention": 2}]
)
def test_options_that_are_neither(options):
    with pytest.raises(UsageError, match="is neither true nor false"):
        configure(UPERNET, SIZE, None, options)


def test_unknown_options_name_the_known():
    with pytest.raises(UsageError, match="has no option 'injection'; it has window_attention"):
        configure(UPERNET, SIZE, None, {"injection": "x"})
