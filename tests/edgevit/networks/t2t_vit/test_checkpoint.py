"""T2T-ViT's files: containers, what shapes tell, the position table's rules, what is refused."""

import math
from dataclasses import replace

import pytest
import torch

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, load_strict
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.t2t_vit.cards import CARDS
from edgevit.networks.t2t_vit.checkpoint import (
    OPTIONS,
    PREFER,
    adapt,
    configure,
    recognize,
    resize_positions,
)
from edgevit.networks.t2t_vit.network import CONFIGS, T2TViT, build, sinusoid_table

BY_NAME = {card.name: card for card in CARDS}
CARD = BY_NAME["t2t-vit-7"]
TINY = replace(CONFIGS["7"], dim=16, depth=2, heads=2, token_dim=8, num_classes=5, grid=3)


def state_of(config, seed=1):
    """Random weights for every tensor, the fixed ones included."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(value.shape, generator=generator) * 0.2
        for key, value in T2TViT(config).state_dict().items()
    }


def opened(content, tmp_path, config=TINY, card=CARD, **options):
    """The network of a file with this content."""
    path = tmp_path / "weights.pth.tar"
    torch.save(content, path)
    adapted = adapt(read_checkpoint(path, prefer=PREFER).tensors, card, config, options)
    assert adapted.untrained == ()
    network = build(card, adapted.config, False).eval()
    load_strict(network, adapted.tensors, source=str(path), likely=recognize)
    return network


def loaded_as_given(network, state):
    found = network.state_dict()
    return found.keys() == state.keys() and all(torch.equal(found[k], state[k]) for k in found)


def prefixed(state):
    return {f"module.{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict_ema": state},
        lambda state: {"epoch": 309, "state_dict": state, "arch": "t2t_vit_7", "metric": 71.7},
        lambda state: {"state_dict": state_of(TINY, 9), "state_dict_ema": state},
        lambda state: {"state_dict_ema": prefixed(state)},
        lambda state: prefixed(state),
        lambda state: {"net": prefixed(state), "acc": 98.3, "epoch": 59},
    ],
    ids=["bare", "release", "training", "averaged first", "parallel", "bare parallel", "CIFAR"],
)
def test_every_container(wrap, tmp_path):
    state = state_of(TINY)
    assert loaded_as_given(opened(wrap(state), tmp_path), state)


@pytest.mark.parametrize("variant", ["7", "t-14", "14-se", "16-ghost", "dense"])
@pytest.mark.parametrize("half", [False, True])
def test_every_structure(variant, half, tmp_path):
    config = replace(
        CONFIGS[variant], dim=32, depth=1, heads=2, growth=16, stages=(1, 1), grid=2, token_dim=8
    )
    state = {k: v.half() if half else v for k, v in state_of(config).items()}
    network = opened({"state_dict_ema": state}, tmp_path, config, BY_NAME[f"t2t-vit-{variant}"])
    assert loaded_as_given(network, {k: v.float() for k, v in state.items()})


@pytest.mark.parametrize("changes", [{"num_classes": 10}, {"num_classes": 1}, {"token_dim": 12}])
def test_shapes_tell_classes_and_the_tokens_width(changes, tmp_path):
    config = replace(TINY, **changes)
    state = state_of(config)
    network = opened({"net": prefixed(state)}, tmp_path)
    assert network.config == config
    assert loaded_as_given(network, state)


def test_the_head_of_token_labeling_is_left_behind(tmp_path):
    state = state_of(TINY)
    dense = {"aux_head.weight": torch.ones(5, 16), "aux_head.bias": torch.ones(5)}
    network = opened({"state_dict_ema": {**state, **dense}}, tmp_path)
    assert loaded_as_given(network, state)


@pytest.mark.parametrize(
    ("container", "recipe"),
    [("", None), ("state_dict_ema", None), ("net", "t2t-cifar"), ("net.state_dict", "t2t-cifar")],
)
def test_a_transfer_file_brings_the_preprocessing_of_cifar(container, recipe):
    assert adapt(state_of(TINY), CARD, TINY, {}, container=container).preparation == recipe


def cubic(distance):
    """The cubic kernel with a = -0.75."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def resized_by_hand(table, grid):
    """Bicubic with half-pixel centers and clamped borders, token by token."""
    side = math.isqrt(table.shape[1] - 1)
    rows = [table[0, 0].double()]
    for y in range(grid):
        for x in range(grid):
            total = torch.zeros(table.shape[2], dtype=torch.float64)
            top, left = ((n + 0.5) * side / grid - 0.5 for n in (y, x))
            for i in range(math.floor(top) - 1, math.floor(top) + 3):
                for j in range(math.floor(left) - 1, math.floor(left) + 3):
                    clamped = min(max(i, 0), side - 1) * side + min(max(j, 0), side - 1)
                    total += cubic(top - i) * cubic(left - j) * table[0, 1 + clamped].double()
            rows.append(total)
    return torch.stack(rows).unsqueeze(0)


@pytest.mark.parametrize(("stored", "grid"), [(14, 24), (24, 14), (3, 7), (14, 2), (1, 2), (5, 16)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_table_of_another_size_is_resized_as_the_official_loader_does(stored, grid, dtype):
    table = torch.randn(1, stored**2 + 1, 6).to(dtype)
    resized = resize_positions(table, grid, "bicubic")
    assert resized.dtype == torch.float32
    assert torch.allclose(resized.double(), resized_by_hand(table, grid), atol=1e-5)


@pytest.mark.parametrize("rule", ["bicubic", "sinusoid"])
@pytest.mark.parametrize("grid", [14, 24])
def test_a_table_of_the_right_size_is_kept_as_stored(rule, grid):
    table = torch.randn(1, grid**2 + 1, 6)
    assert resize_positions(table, grid, rule) is table


@pytest.mark.parametrize(("options", "computed"), [({}, False), ({"positions": "sinusoid"}, True)])
def test_a_224_file_at_another_size(options, computed, tmp_path):
    state = state_of(replace(TINY, grid=2))
    network = opened({"state_dict_ema": state}, tmp_path, TINY, **options)
    table = network.pos_embed.detach()
    assert table.shape == (1, 10, 16)
    assert torch.equal(table, sinusoid_table(10, 16)) == computed
    if not computed:
        wanted = resized_by_hand(state["pos_embed"], 3)
        assert torch.allclose(table.double(), wanted, atol=1e-6)
    with torch.no_grad():
        assert network(torch.randn(network.input_shape)).shape == (1, 5)


@pytest.mark.parametrize(
    "table",
    [
        torch.ones(1, 9, 16),
        torch.ones(1, 1, 16),
        torch.ones(1, 0, 16),
        torch.ones(2, 5, 16),
        torch.ones(5, 16),
        torch.ones(1, 5, 0),
        torch.ones(1, 5, 16, dtype=torch.int64),
        torch.ones(1, 5, 17),
    ],
    ids=lambda table: "x".join(map(str, table.shape)),
)
@pytest.mark.parametrize("rule", ["bicubic", "sinusoid"])
def test_what_is_no_position_table_is_named(table, rule, tmp_path):
    content = {**state_of(TINY), "pos_embed": table}
    with pytest.raises(CheckpointMismatch) as caught:
        opened(content, tmp_path, positions=rule)
    assert [wrong.key for wrong in caught.value.mismatched] == ["pos_embed"]


def test_adapting_leaves_the_given_tensors_alone():
    state = {**state_of(replace(TINY, grid=2)), "aux_head.bias": torch.ones(5)}
    before = dict(state)
    adapted = adapt(state, CARD, TINY, {})
    assert state.keys() == before.keys()
    assert all(state[key] is before[key] for key in before)
    assert adapted.tensors["pos_embed"].shape == (1, 10, 16)


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_each_model_is_recognized_by_its_shapes(card):
    with torch.device("meta"):
        state = build(card, CONFIGS[card.variant], False).state_dict()
    name = recognize({key: tuple(value.shape) for key, value in state.items()})
    # The resnext structure has the shapes of the plain one.
    assert name == card.name.removesuffix("-resnext")


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"cls_token": (1, 1, 384), "pos_embed": (1, 197, 384), "blocks.0.norm1.weight": (384,)},
        {"cls_token": (), "tokens_to_token.attention1.kqv.weight": (192, 147)},
        {"tokens_to_token.attention1.kqv.weight": (192, 147)},
        {"backbone.tpm.layer2.conv.4.c.weight": (16, 48, 1, 1)},
    ],
)
def test_foreign_shapes_are_not_recognized(shapes):
    assert recognize(shapes) is None


@pytest.mark.parametrize(("held", "asked"), [("7", "10"), ("7", "t-14"), ("micro", "7")])
def test_another_models_file_is_named(held, asked, tmp_path):
    with pytest.raises(CheckpointMismatch, match=rf"it looks like a t2t-vit-{held} checkpoint\.$"):
        opened(
            {"state_dict_ema": state_of(CONFIGS[held])},
            tmp_path,
            CONFIGS[asked],
            BY_NAME[f"t2t-vit-{asked}"],
        )


@pytest.mark.parametrize("key", ["pos_embed", "cls_token", "head.bias", "blocks.1.norm2.weight"])
def test_a_lost_or_a_stray_key_is_named(key, tmp_path):
    state = state_of(TINY)
    del state[key]
    with pytest.raises(CheckpointMismatch) as caught:
        opened({**state, "stray.weight": torch.ones(1)}, tmp_path)
    assert caught.value.missing == (key,)
    assert caught.value.unexpected == ("stray.weight",)


@pytest.mark.parametrize(
    ("key", "shape", "sentence"),
    [
        ("head.weight", (70_000, 16), "head.weight has 70000 outputs; no T2T-ViT has that"),
        ("head.weight", (0, 16), "head.weight has 0 outputs"),
        ("tokens_to_token.attention1.proj.weight", (9000, 1), "proj.weight has 9000 outputs"),
        ("tokens_to_token.attention1.proj.weight", (1, 1), "proj.weight has 1 outputs"),
    ],
)
def test_widths_that_no_network_has_are_refused_before_it_is_built(key, shape, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        adapt({**state_of(TINY), key: torch.empty(shape)}, CARD, TINY, {})


@pytest.mark.parametrize(
    ("key", "shape"), [("head.weight", (7,)), ("tokens_to_token.attention1.proj.weight", (4,))]
)
def test_a_width_of_another_rank_is_left_to_the_loader(key, shape, tmp_path):
    with pytest.raises(CheckpointMismatch) as caught:
        opened({**state_of(TINY), key: torch.ones(shape)}, tmp_path)
    assert [wrong.key for wrong in caught.value.mismatched] == [key]


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_configuration_of_each_card(card):
    assert configure(card, card.input_size, None, {}) == CONFIGS[card.variant]
    config = configure(card, (384, 384), 7, {"positions": "sinusoid"})
    assert config == replace(CONFIGS[card.variant], grid=24, num_classes=7)


@pytest.mark.parametrize(
    ("size", "sentence", "following"),
    [
        ((224, 192), "takes square inputs only, not 224x192", "224 224"),
        ((8, 224, 224), "takes square inputs only, not 8x224x224", "224 224"),
        ((230, 230), "takes sides of a multiple of 16 pixels, not 230", "224 224"),
        ((8, 8), "takes sides of a multiple of 16 pixels, not 8", "16 16"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(size, sentence, following):
    with pytest.raises(UsageError, match=sentence) as caught:
        configure(CARD, size, None, {})
    assert caught.value.next == f"--input-size {following}"


def test_options_are_checked():
    assert OPTIONS == ("positions",)
    with pytest.raises(UsageError, match="T2T-ViT has no option 'heads'; it has positions"):
        configure(CARD, (224, 224), None, {"heads": 4})
    with pytest.raises(UsageError, match="positions='bilinear' is not one of bicubic, sinusoid"):
        configure(CARD, (224, 224), None, {"positions": "bilinear"})
    with pytest.raises(UsageError, match="positions=None is not one of"):
        adapt({}, CARD, TINY, {"positions": None})
