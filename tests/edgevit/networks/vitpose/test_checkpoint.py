"""ViTPose's files: every layout, what is dropped, what shapes tell, and what is refused."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, load_strict
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.vitpose import network as vitpose
from edgevit.networks.vitpose.cards import CARDS
from edgevit.networks.vitpose.checkpoint import (
    DATASETS,
    PREFER,
    adapt,
    configure,
    recognize,
)
from edgevit.networks.vitpose.network import CONFIGS, Config, build
from edgevit.networks.vitpose.positions import resize_positions
from tests.support.refused import refuse_lying_shapes

OF_NAME = {card.name: card for card in CARDS}
SIZE = (64, 48)
CLASSIC = Config(32, 2, 4, deconv_channels=8)
TINY = {"s": CLASSIC, "plus-s": CLASSIC, "s-simple": Config(32, 2, 4, "simple")}
# ViTPose+: MoE checkpoint of all six data sets, in millions, and the expert's outputs.
PLUS = {"s": (55.160, 192), "b": (146.423, 192), "l": (460.675, 256), "h": (930.917, 320)}


@pytest.fixture
def small(monkeypatch):
    """The table of variants with small networks in place of S."""
    monkeypatch.setattr(vitpose, "CONFIGS", {**CONFIGS, **TINY})
    monkeypatch.setattr("edgevit.networks.vitpose.checkpoint.CONFIGS", {**CONFIGS, **TINY})


def state_of(config, seed=0):
    network = build(OF_NAME["vitpose-s"], config, False)
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = torch.rand(value.shape, generator=generator) + 0.5
        elif value.is_floating_point():
            state[key] = 0.3 * torch.randn(value.shape, generator=generator)
    return state


def load(tensors, name="vitpose-s", size=SIZE, num_classes=None, **options):
    """What create_model does with tensors that were read."""
    card = OF_NAME[name]
    config = configure(card, size, num_classes, options)
    adapted = adapt(tensors, card, config, options)
    network = build(card, adapted.config, False).eval()
    start = {
        k: v for k, v in network.state_dict().items() if k.startswith(adapted.untrained or "?")
    }
    load_strict(network, {**start, **adapted.tensors}, source="x.pth", likely=recognize)
    return network, adapted


def same(network, state):
    found = network.state_dict()
    return set(found) == set(state) and all(torch.equal(found[k], v) for k, v in state.items())


def tiny_state(name="vitpose-s", size=SIZE, classes=17, seed=0):
    config = TINY[OF_NAME[name].variant]
    return state_of(replace(config, input_size=size, num_classes=classes), seed)


def hugging_face(state):
    """The same file as transformers writes it."""
    names = (
        ("backbone.pos_embed", "backbone.embeddings.position_embeddings"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("last_norm", "layernorm"),
        ("blocks", "encoder.layer"),
        ("norm1", "layernorm_before"),
        ("norm2", "layernorm_after"),
        ("attn.proj", "attention.output.dense"),
        ("keypoint_head.deconv_layers.0", "head.deconv1"),
        ("keypoint_head.deconv_layers.1", "head.batchnorm1"),
        ("keypoint_head.deconv_layers.3", "head.deconv2"),
        ("keypoint_head.deconv_layers.4", "head.batchnorm2"),
        ("keypoint_head.final_layer", "head.conv"),
    )
    out = {}
    for key, value in state.items():
        for ours, theirs in names:
            key = key.replace(ours, theirs)
        if "attn.qkv" not in key:
            out[key] = value
            continue
        for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
            out[key.replace("attn.qkv", f"attention.attention.{part}")] = piece
    return out


def all_experts(state, part, seed=7):
    """A ViTPose+ file whose coco network is `state`, and the folded network of each data set."""
    generator = torch.Generator().manual_seed(seed)
    new = lambda like: torch.randn(like.shape, generator=generator)  # noqa: E731
    file, folded = {}, {name: dict(state) for name in DATASETS}
    for key, value in state.items():
        if ".mlp.fc2." not in key:
            file[key] = value
            continue
        shared, first = value[:-part], value[-part:]
        file[key] = shared
        for index, name in enumerate(DATASETS):
            expert = new(first) if index else first
            file[key.replace("fc2", f"experts.{index}")] = expert
            folded[name][key] = torch.cat([shared, expert])
    for index, (name, count) in enumerate(list(DATASETS.items())[1:]):
        for key, value in state.items():
            if not key.startswith("keypoint_head."):
                continue
            like = value
            if "final_layer" in key:
                like = value.new_empty(count, *value.shape[1:])
            head = new(like) if value.is_floating_point() else value
            file[key.replace("keypoint_head", f"associate_keypoint_heads.{index}")] = head
            folded[name][key] = head
    return file, folded


@pytest.mark.parametrize("name", ["vitpose-s", "vitpose-s-simple"])
@pytest.mark.parametrize("classes", [17, 14, 133])
def test_official_files_and_their_keypoints(name, classes, small, tmp_path):
    state = tiny_state(name, classes=classes)
    path = tmp_path / "x.pth"
    torch.save({"meta": {"epoch": 210}, "state_dict": state, "optimizer": {"state": {}}}, path)
    network, adapted = load(read_checkpoint(path, prefer=PREFER).tensors, name)
    assert adapted.config.num_classes == classes
    assert same(network, state)


@pytest.mark.parametrize("name", ["vitpose-s", "vitpose-s-simple"])
def test_transformers_files(name, small):
    state = tiny_state(name)
    file = hugging_face(state)
    assert not set(file) & set(state)
    assert same(load(file, name)[0], state)


def test_a_decoder_of_another_width(small):
    state = state_of(replace(CLASSIC, deconv_channels=12, input_size=SIZE))
    network, adapted = load(state)
    assert adapted.config.deconv_channels == 12
    assert same(network, state)


def test_leftovers_of_several_data_sets_are_dropped(small):
    state = tiny_state()
    extra = {
        "backbone.cls_token": torch.ones(1, 1, 32),
        "associate_keypoint_heads.0.final_layer.weight": torch.ones(14, 8, 1, 1),
        "associate_heads.1.final_layer.bias": torch.ones(16),
        "backbone.blocks.0.mlp.experts.3.weight": torch.ones(8, 128),
        "backbone.blocks.1.mlp.experts.0.bias": torch.ones(8),
    }
    assert same(load({**state, **extra})[0], state)
    with pytest.raises(CheckpointMismatch) as caught:
        load({**state, **extra, "backbone.head.weight": torch.ones(1)})
    assert caught.value.unexpected == ("backbone.head.weight",)


@pytest.mark.parametrize("dataset", DATASETS)
def test_plus_is_folded_to_one_data_set(dataset, small):
    file, folded = all_experts(tiny_state("vitpose-plus-s"), part=12)
    network, adapted = load(file, "vitpose-plus-s", dataset=dataset)
    assert adapted.config.num_classes == DATASETS[dataset]
    assert same(network, folded[dataset])
    if dataset == "coco":
        assert same(load(file, "vitpose-plus-s")[0], folded["coco"])


def test_the_folded_network_computes_what_the_experts_do(small):
    file, _ = all_experts(tiny_state("vitpose-plus-s"), part=12)
    network, _ = load(file, "vitpose-plus-s", dataset="mpii")
    hidden = torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(3))
    stem = "backbone.blocks.1.mlp."
    shared, expert = (
        F.linear(hidden, file[f"{stem}{part}.weight"], file[f"{stem}{part}.bias"])
        for part in ("fc2", "experts.2")
    )
    with torch.no_grad():
        out = network.backbone.blocks[1].mlp.fc2(hidden)
    assert torch.allclose(out, torch.cat([shared, expert], -1), atol=1e-5)


def test_heads_wider_than_their_data_set_are_cut_as_the_official_tool_does(small):
    file, folded = all_experts(tiny_state("vitpose-plus-s"), part=12)
    for name in ("weight", "bias"):
        key = f"associate_keypoint_heads.0.final_layer.{name}"
        file[key] = torch.cat([file[key], torch.ones(119, *file[key].shape[1:])])
    assert same(load(file, "vitpose-plus-s", dataset="aic")[0], folded["aic"])


def split_off(file, folded, dataset):
    """The file that tools/model_split.py writes: experts forgotten, coco's with all heads."""
    experts = {key: value for key, value in file.items() if ".experts." in key}
    heads = {key: value for key, value in file.items() if key.startswith("associate")}
    return {**folded[dataset], **experts, **(heads if dataset == "coco" else {})}


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("name", ["vitpose-plus-s", "vitpose-s"])
def test_files_split_off_by_the_official_tool(dataset, name, small):
    file, folded = all_experts(tiny_state("vitpose-plus-s"), part=12)
    split = split_off(file, folded, dataset)
    options = {"dataset": dataset} if "plus" in name else {}
    assert same(load(split, name, **options)[0], folded[dataset])


def test_a_split_file_of_another_data_set_is_refused(small):
    file, folded = all_experts(tiny_state("vitpose-plus-s"), part=12)
    with pytest.raises(CheckpointError, match="already contains only coco, not aic"):
        load(split_off(file, folded, "coco"), "vitpose-plus-s", dataset="aic")
    with pytest.raises(CheckpointError, match="14 keypoints, which is not dataset=mpii with 16"):
        load(split_off(file, folded, "aic"), "vitpose-plus-s", dataset="mpii")


def test_transformers_plus_files_hold_the_coco_head_alone(small):
    file, folded = all_experts(tiny_state("vitpose-plus-s"), part=12)
    hub = hugging_face({k: v for k, v in file.items() if not k.startswith("associate")})
    assert recognize(shapes(hub)) == "vitpose-plus-s"
    assert same(load(hub, "vitpose-plus-s")[0], folded["coco"])
    assert same(load(hub, "vitpose-plus-s", dataset="coco")[0], folded["coco"])
    with pytest.raises(CheckpointError, match="has only the head for coco") as caught:
        load(hub, "vitpose-plus-s", dataset="ap10k")
    assert caught.value.next == "--option dataset=coco"


def test_a_plus_file_with_a_lost_or_wrong_expert_is_one_sentence(small):
    file, _ = all_experts(tiny_state("vitpose-plus-s"), part=12)
    key = "backbone.blocks.1.mlp.experts.4.weight"
    with pytest.raises(CheckpointError, match="expert 4"):
        load({k: v for k, v in file.items() if k != key}, "vitpose-plus-s", dataset="apt36k")
    for wrong in (torch.ones(()), torch.ones(12, 7)):
        with pytest.raises(CheckpointError, match="does not fit"):
            load({**file, key: wrong}, "vitpose-plus-s", dataset="apt36k")


@pytest.mark.parametrize("size", PLUS)
def test_the_whole_plus_file_has_the_specifications_parameters(size):
    millions, part = PLUS[size]
    config = CONFIGS[f"plus-{size}"]
    with torch.device("meta"):
        network = build(OF_NAME[f"vitpose-plus-{size}"], config, False)
    heads = sum(
        sum(p.numel() for p in network.keypoint_head.parameters())
        + (count - 17) * (network.keypoint_head.final_layer.weight[0].numel() + 1)
        for count in DATASETS.values()
    )
    backbone = sum(p.numel() for p in network.backbone.parameters())
    experts = 5 * config.depth * part * (4 * config.dim + 1)
    assert round((backbone + experts + heads) / 1e6, 3) == millions


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("name", sorted(OF_NAME))
def test_a_file_is_recognized(name):
    card = OF_NAME[name]
    with torch.device("meta"):
        state = build(card, CONFIGS[card.variant], False).state_dict()
        plain = name.replace("plus-", "")
        assert recognize(shapes(state)) == plain
        assert recognize(shapes(hugging_face(state))) == plain
        if plain != name:
            part = PLUS[card.variant[-1]][1]
            halved = {k: v[:-part] if ".fc2." in k else v for k, v in state.items()}
            assert recognize(shapes(halved)) == name


def test_what_is_no_vitpose_is_not_recognized():
    assert recognize({}) is None
    assert recognize({"backbone.patch_embed.proj.weight": (384, 3, 16, 16)}) is None
    assert recognize({"patch_embed.proj.weight": (384, 3, 16, 16), "head.weight": (5, 384)}) is None
    head = {"keypoint_head.final_layer.weight": (17, 256, 1, 1)}
    assert recognize({**head, "backbone.patch_embed.proj.weight": (7, 3, 16, 16)}) is None
    assert recognize({**head, "backbone.patch_embed.proj.weight": ()}) is None


# Position tables, restated: the official rule is `interpolate(bicubic, align_corners=False)` of the
# grid rows, the class token's row kept. The interpolation here is written out.


def cubic(t):
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def along(n_in, n_out):
    weights = torch.zeros(n_out, n_in, dtype=torch.float64)
    for i in range(n_out):
        source = (i + 0.5) * n_in / n_out - 0.5
        first = int(source // 1)
        for j in range(first - 1, first + 3):
            weights[i, min(max(j, 0), n_in - 1)] += cubic(source - j)
    return weights


def expected_table(table, old, new):
    grid = table[0, 1:].double().reshape(*old, -1)
    out = torch.einsum("ia,jb,abc->ijc", along(old[0], new[0]), along(old[1], new[1]), grid)
    return torch.cat([table[0, :1].double(), out.flatten(0, 1)])[None]


@pytest.mark.parametrize(
    ("trained", "size", "old", "new"),
    [
        ((256, 192), (384, 288), (16, 12), (24, 18)),
        ((256, 192), (128, 96), (16, 12), (8, 6)),
        ((384, 288), (256, 192), (24, 18), (16, 12)),
        ((256, 256), (256, 192), (16, 16), (16, 12)),
        ((256, 192), (320, 208), (16, 12), (20, 13)),
    ],
)
def test_tables_of_another_size_are_resized_from_the_official_grid(trained, size, old, new, small):
    state = tiny_state(size=trained)
    network, _ = load(state, size=size)
    found = network.backbone.pos_embed
    want = expected_table(state["backbone.pos_embed"], old, new)
    assert found.shape == (1, 1 + new[0] * new[1], 32)
    assert torch.equal(found[:, 0], state["backbone.pos_embed"][:, 0])
    assert torch.allclose(found.double(), want, atol=1e-5)


@pytest.mark.parametrize(
    "size",
    # An odd grid; one of 192 tokens that is not the official one; as many tokens as 16x16, 8x8.
    [(80, 48), (192, 256), (512, 128), (256, 64)],
)
def test_a_table_of_the_networks_own_length_stays(size, small):
    """Official code and transformers load such a table as it is."""
    state = tiny_state(size=size)
    assert same(load(state, size=size)[0], state)
    assert same(load(hugging_face(state), size=size)[0], state)


def test_trained_size_tells_what_the_number_of_rows_cannot(small):
    state = tiny_state(size=(256, 192))
    turned = expected_table(state["backbone.pos_embed"], (16, 12), (12, 16))
    for said in ("256x192", (256, 192), [256, 192]):
        found = load(state, size=(192, 256), trained_size=said)[0].backbone.pos_embed
        assert torch.allclose(found.double(), turned, atol=1e-5)
    odd = tiny_state(size=(80, 48))
    with pytest.raises(CheckpointError, match="neither a 4:3 nor a square") as caught:
        load(odd, size=(64, 48))
    assert caught.value.next == "--option trained_size=HEIGHTxWIDTH"
    network, _ = load(odd, size=(64, 48), trained_size="80x48")
    want = expected_table(odd["backbone.pos_embed"], (5, 3), (4, 3))
    assert torch.allclose(network.backbone.pos_embed.double(), want, atol=1e-5)
    with pytest.raises(CheckpointError, match="gives 4x3"):
        load(odd, size=(64, 48), trained_size="64x48")


def test_resizing_keeps_half_precision():
    table = torch.randn(1, 13, 4).half()
    assert resize_positions(table, (4, 3), (8, 6)).dtype == torch.float16
    assert resize_positions(table, (4, 3), (4, 3)) is table


def mae(dim=32, depth=2, patch=16, grid=14):
    """MAE's pre-training file: the encoder beside the decoder."""
    generator = torch.Generator().manual_seed(11)
    new = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    state = state_of(Config(dim, depth, 4, "simple", input_size=(16 * grid, 16 * grid)))
    file = {
        key.removeprefix("backbone."): value
        for key, value in state.items()
        if key.startswith("backbone.") and "last_norm" not in key
    }
    file["patch_embed.proj.weight"] = new(dim, 3, patch, patch)
    file |= {"cls_token": new(1, 1, dim), "mask_token": new(1, 1, 16), "norm.weight": new(dim)}
    return {
        **file,
        "norm.bias": new(dim),
        "decoder_pos_embed": new(1, 197, 16),
        "decoder_blocks.0.norm1.weight": new(16),
        "decoder_pred.bias": new(768),
    }


@pytest.mark.parametrize("prefix", ["", "encoder."])
@pytest.mark.parametrize("patch", [16, 14])
def test_a_pretrained_backbone_starts_a_network(prefix, patch, small):
    file = mae(patch=patch)
    given = {f"{prefix}{k}": v for k, v in file.items()}
    if prefix:
        given["projector.weight"] = torch.ones(3)
    network, adapted = load(given, size=(256, 192))
    assert adapted.untrained == ("backbone.last_norm", "keypoint_head")
    kernel = network.backbone.patch_embed.proj.weight
    before = (16 - patch) // 2
    inside = slice(before, before + patch)
    assert torch.equal(kernel[..., inside, inside], file["patch_embed.proj.weight"])
    assert kernel.abs().sum() == kernel[..., inside, inside].abs().sum()
    table = expected_table(file["pos_embed"], (14, 14), (16, 12))
    assert torch.allclose(network.backbone.pos_embed.double(), table, atol=1e-5)
    key = "blocks.1.mlp.fc2.weight"
    assert torch.equal(network.state_dict()[f"backbone.{key}"], file[key])
    assert torch.equal(network.backbone.last_norm.weight, torch.ones(32))


def test_a_pretrained_table_is_square_also_where_the_network_has_as_many_tokens(small):
    file = mae(grid=4)
    network, _ = load(file, size=(128, 32))
    want = expected_table(file["pos_embed"], (4, 4), (8, 2))
    assert torch.allclose(network.backbone.pos_embed.double(), want, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((32, 3, 0, 0), "32x3x0x0"),
        ((32, 3, 17, 17), "32x3x17x17"),
        ((24, 3, 7, 7), "24x3x7x7"),
        ((32, 1, 14, 14), "32x1x14x14"),
        ((32,), "32"),
    ],
)
def test_a_patch_kernel_of_something_else_is_named_as_it_is(shape, told, small):
    file = {**mae(), "patch_embed.proj.weight": torch.ones(shape)}
    with pytest.raises(CheckpointMismatch) as caught:
        load(file, size=(256, 192))
    assert f"backbone.patch_embed.proj.weight ({told} in the file" in caught.value.message


def test_a_stray_key_of_a_backbone_file_is_named(small):
    with pytest.raises(CheckpointMismatch) as caught:
        load({**mae(), "blocks.9.norm1.weight": torch.ones(32)}, size=(256, 192))
    assert caught.value.unexpected == ("backbone.blocks.9.norm1.weight",)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("vitpose-s", {"dataset": "coco"}, "has only one data set"),
        ("vitpose-plus-s", {"dataset": "crowdpose"}, "not one of coco, aic, mpii"),
        ("vitpose-plus-s", {"dataset": 3}, "not one of coco"),
        ("vitpose-plus-s", {"expert": 1}, "no option 'expert'"),
        ("vitpose-s", {"trained_size": 256}, "not a height and width"),
        ("vitpose-s", {"trained_size": "256"}, "not a height and width"),
        ("vitpose-s", {"trained_size": (256,)}, "not a height and width"),
        ("vitpose-s", {"trained_size": (0, 192)}, "not a height and width"),
        ("vitpose-s", {"trained_size": None}, "not a height and width"),
    ],
)
def test_wrong_options(name, options, match):
    with pytest.raises(UsageError, match=match) as caught:
        configure(OF_NAME[name], (256, 192), None, options)
    assert caught.value.next


def test_configure_is_the_variants_table_with_options():
    card = OF_NAME["vitpose-plus-b"]
    assert configure(card, (256, 192), None, {}) == CONFIGS["plus-b"]
    found = configure(card, (384, 288), None, {"dataset": "wholebody"})
    assert (found.num_classes, found.grid) == (133, (24, 18))
    assert configure(card, (256, 192), 133, {"dataset": "wholebody"}).num_classes == 133
    with pytest.raises(UsageError, match="wholebody has 133 keypoints, not 17"):
        configure(card, (256, 192), 17, {"dataset": "wholebody"})
    assert configure(OF_NAME["vitpose-s"], (256, 192), 21, {}).num_classes == 21


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("vitpose-s", "vitpose-s-simple"),
        ("vitpose-s-simple", "vitpose-s"),
        ("vitpose-b", "vitpose-s"),
        ("vitpose-micro", "vitpose-s"),
    ],
)
def test_another_models_file_names_the_likely_one(asked, held):
    card = OF_NAME[held]
    with torch.device("meta"):
        state = build(card, CONFIGS[card.variant], False).state_dict()
    size = OF_NAME[asked].input_size
    config = configure(OF_NAME[asked], size, None, {})
    adapted = adapt(state, OF_NAME[asked], config, {})
    with torch.device("meta"):
        network = build(OF_NAME[asked], adapted.config, False)
    with pytest.raises(CheckpointMismatch) as caught:
        load_strict(network, adapted.tensors, source="x.pth", likely=recognize)
    assert f"it looks like a {held} checkpoint." in caught.value.message


def test_a_plus_file_for_a_plain_name_names_the_plus_one(small):
    file, _ = all_experts(tiny_state("vitpose-plus-s"), part=12)
    with pytest.raises(CheckpointMismatch, match="it looks like a vitpose-plus-s checkpoint"):
        load(file)


def test_a_file_of_something_else_is_one_sentence(small):
    for name in ("vitpose-s", "vitpose-s-simple", "vitpose-plus-s"):
        with pytest.raises(CheckpointMismatch, match="does not fit the network") as caught:
            load({"fc.weight": torch.ones(2, 2)}, name)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", ["vitpose-s", "vitpose-plus-s"])
def test_lying_shapes_are_one_sentence(name, small):
    refuse_lying_shapes(
        lambda state: load(state, name),
        tiny_state(),
        (
            "backbone.pos_embed",
            "backbone.patch_embed.proj.weight",
            "backbone.blocks.0.mlp.fc1.weight",
            "backbone.blocks.0.mlp.fc2.weight",
            "keypoint_head.final_layer.weight",
            "keypoint_head.deconv_layers.0.weight",
        ),
        (
            *((), (3,), (1, 0, 32), (1, 13, 0), (1, 49, 0), (1, 13, 5)),
            *((0, 3, 1, 1), (1 << 20, 1, 1, 1), (17, 4096, 1, 1)),
        ),
    )


@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("shape", [None, (), (3,), (32, 31), (1, 2, 3)])
def test_damaged_projections_of_transformers_are_one_sentence(part, name, shape, small):
    file = hugging_face(tiny_state())
    key = f"backbone.encoder.layer.1.attention.attention.{part}.{name}"
    del file[key]
    with pytest.raises(CheckpointMismatch) as caught:
        load(file if shape is None else {**file, key: torch.ones(shape)})
    assert caught.value.missing == (f"backbone.blocks.1.attn.qkv.{name}",)
    assert "\n" not in caught.value.message


def test_adapting_leaves_the_given_tensors_alone(small):
    file, _ = all_experts(tiny_state("vitpose-plus-s"), part=12)
    before = dict(file)
    load(file, "vitpose-plus-s", dataset="aic")
    assert set(file) == set(before)
    assert all(file[key] is before[key] for key in file)
