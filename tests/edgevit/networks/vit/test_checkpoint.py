"""ViT's files: five layouts, three rules for position tables, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, load_strict
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.vit import checkpoint as layout
from edgevit.networks.vit.cards import CARDS
from edgevit.networks.vit.checkpoint import PREFER, adapt, configure, layout_of, recognize
from edgevit.networks.vit.network import CONFIGS, build
from edgevit.networks.vit.positions import RULES, resize_table
from tests.support.refused import refuse_lying_shapes

BY_NAME = {card.name: card for card in CARDS}
MICRO = BY_NAME["vit-micro"]
SIZE = (64, 96)  # 4x6 patches
SQUARE = (80, 80)  # 5x5
DISTILLED = {"dist_token": True, "dist_head": True}
MEAN = {"pool": "mean", "norm_after_pool": True}


def kind_of(key, value):
    if key.endswith(("_token", "pos_embed")):
        return "embed"
    if "norm" in key:
        return "norm_w" if key.endswith("weight") else "norm_b"
    return "bias" if key.endswith("bias") else f"w:{value[0].numel()}"


@pytest.fixture
def made(seeded):
    """A network of the micro widths with seeded weights, and its state dict in timm's names."""

    def make(size=SIZE, **changes):
        config = replace(CONFIGS["micro"], num_classes=7, input_size=size, **changes)
        network = build(MICRO, config, False).eval()
        state = {
            key: torch.from_numpy(seeded.fill(key, tuple(value.shape), kind_of(key, value), 1))
            for key, value in network.state_dict().items()
        }
        network.load_state_dict(state)
        return network, state

    return make


def loaded(path, size=SIZE, card=MICRO, **options):
    """The way of `create_model`: read, adapt, build, load strictly."""
    checkpoint = read_checkpoint(path, prefer=PREFER)
    return fitted(checkpoint.tensors, checkpoint.container, size, card, options)


def fitted(tensors, container="", size=SIZE, card=MICRO, options=()):
    """`loaded` without a file."""
    options = dict(options)
    config = configure(card, size, None, options)
    adapted = adapt(tensors, card, config, options, container=container)
    network = build(card, adapted.config, False).eval()
    start = {
        key: value
        for key, value in network.state_dict().items()
        if adapted.untrained and key.startswith(adapted.untrained)
    }
    load_strict(network, {**start, **adapted.tensors}, source="x.pth", likely=recognize)
    network.untrained = adapted.untrained
    return network


def same_outputs(found, wanted):
    x = torch.randn(1, 3, *wanted.config.input_size, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        got, want = found(x), wanted(x)
    assert want.std() > 0.1
    assert torch.equal(got, want)


# Each layout's file, made of timm's names.


def bare(state, folder):
    save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


def wrapped(key):
    def save(state, folder):
        torch.save({key: state, "epoch": 300}, folder / "x.pth")
        return folder / "x.pth"

    return save


def google_names(state, heads=3, linen=False, root=""):
    """Kernels with inputs first, attention cut into heads, flax's names."""
    attention, norm2, mlp = (0, 1, 0) if linen else (1, 2, 3)
    found = {}
    for key, value in state.items():
        array, stem = value.numpy(), key.rpartition(".")[0]
        kernel = "kernel" if key.endswith("weight") else "bias"
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", key)
        if key == "cls_token":
            found["cls"] = array
        elif key == "pos_embed":
            found["Transformer/posembed_input/pos_embedding"] = array
        elif stem == "patch_embed.proj":
            found[f"embedding/{kernel}"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        elif stem == "norm":
            found[f"Transformer/encoder_norm/{kernel.replace('kernel', 'scale')}"] = array
        elif block is None:
            found[f"{stem.replace('.fc', '')}/{kernel}"] = array.T
        else:
            at, inner = f"Transformer/encoderblock_{block[1]}/", block[2]
            mha = f"{at}MultiHeadDotProductAttention_{attention}"
            if inner.startswith("norm"):
                which = {"norm1": 0, "norm2": norm2}[inner]
                found[f"{at}LayerNorm_{which}/{kernel.replace('kernel', 'scale')}"] = array
            elif inner.startswith("mlp"):
                dense = int(inner[-1]) - 1
                found[f"{at}MlpBlock_{mlp}/Dense_{dense}/{kernel}"] = array.T
            elif inner == "attn.proj":
                cut = array.T.reshape(heads, -1, array.shape[0]) if array.ndim == 2 else array
                found[f"{mha}/out/{kernel}"] = cut
            else:
                for name, part in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                    cut = part.T.reshape(-1, heads, part.shape[0] // heads)
                    found[f"{mha}/{name}/{kernel}"] = cut if part.ndim == 2 else cut[0]
    return {root + key: np.ascontiguousarray(array) for key, array in found.items()}


def google(**how):
    def save(state, folder):
        extra = {"opt/state/step": np.int32(3)} if how.get("root") == "opt/target/" else {}
        np.savez(folder / "x.npz", **google_names(state, **how), **extra)
        return folder / "x.npz"

    return save


def huggingface_names(state, root="vit.", later=False):
    """transformers' names, those of files on the hub or those of its version 5."""
    teacher = any(key.startswith("head_dist") for key in state)
    top = {
        "cls_token": f"{root}embeddings.cls_token",
        "dist_token": f"{root}embeddings.distillation_token",
        "pos_embed": f"{root}embeddings.position_embeddings",
        "patch_embed.proj": f"{root}embeddings.patch_embeddings.projection",
        "norm": f"{root}layernorm",
        "head": "cls_classifier" if teacher else "classifier",
        "head_dist": "distillation_classifier",
    }
    inner = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.o_proj" if later else "attention.output.dense",
        "mlp.fc1": "mlp.fc1" if later else "intermediate.dense",
        "mlp.fc2": "mlp.fc2" if later else "output.dense",
    }
    qkv = (
        [f"attention.{letter}_proj" for letter in "qkv"]
        if later
        else [f"attention.attention.{name}" for name in ("query", "key", "value")]
    )
    found = {}
    for key, value in state.items():
        stem, _, part = key.rpartition(".")
        block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", key)
        if key in top:
            found[top[key]] = value
        elif block is None:
            found[f"{top[stem]}.{part}"] = value
        else:
            at = f"{root}{'layers' if later else 'encoder.layer'}.{block[1]}."
            if block[2] == "attn.qkv":
                for name, rows in zip(qkv, value.chunk(3), strict=True):
                    found[f"{at}{name}.{part}"] = rows.clone()
            else:
                found[f"{at}{inner[block[2]]}.{part}"] = value
    return found


def huggingface(**how):
    return lambda state, folder: bare(huggingface_names(state, **how), folder)


@pytest.mark.parametrize(
    ("save", "changes", "eps"),
    [
        (bare, {}, 1e-6),
        (bare, {"representation": 40}, 1e-6),
        (bare, DISTILLED, 1e-6),
        (bare, MEAN, 1e-6),
        (bare, {"pool": "mean", "cls_token": False}, 1e-6),
        (bare, {**MEAN, "cls_token": False}, 1e-6),
        (wrapped("state_dict"), {}, 1e-6),
        (wrapped("model"), {}, 1e-6),
        (wrapped("model"), DISTILLED, 1e-6),
        (wrapped("model"), {"dist_token": True}, 1e-6),
        (wrapped("model"), MEAN, 1e-6),
        (google(), {}, 1e-6),
        (google(linen=True), {}, 1e-6),
        (google(), {"representation": 40}, 1e-6),
        (google(), {"pool": "mean", "cls_token": False}, 1e-6),
        (google(root="opt/target/"), {}, 1e-6),
        (google(root="params/", linen=True), {}, 1e-6),
        (google(heads=6), {"heads": 6}, 1e-6),
        (huggingface(), {}, 1e-12),
        (huggingface(later=True), {}, 1e-12),
        (huggingface(root="deit."), DISTILLED, 1e-12),
        (huggingface(root="deit.", later=True), {"dist_token": True}, 1e-12),
    ],
)
def test_each_layout_gives_the_same_network(save, changes, eps, made, tmp_path):
    wanted, state = made(eps=eps, **changes)
    found = loaded(save(state, tmp_path))
    assert found.config == wanted.config
    assert found.untrained == ()
    same_outputs(found, wanted)


def headless(state):
    return {key: value for key, value in state.items() if not key.startswith("head")}


def mae_pretraining(state):
    decoder = {
        "decoder_pos_embed": torch.ones(1, 26, 8),
        "decoder_blocks.0.norm1.bias": torch.ones(8),
    }
    return {**headless(state), "mask_token": torch.ones(1, 1, 8), **decoder}


def huggingface_model(state):
    pooler = {"pooler.dense.weight": torch.ones(96, 96), "pooler.dense.bias": torch.ones(96)}
    return {**huggingface_names(headless(state), root=""), **pooler}


def huggingface_mae(state):
    masked = {"vit.embeddings.mask_token": torch.ones(1, 1, 96), "decoder.x": torch.ones(2)}
    return {**huggingface_names(headless(state)), **masked}


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (headless, "model"),
        (mae_pretraining, "model"),
        (huggingface_model, "state_dict"),
        (huggingface_mae, "state_dict"),
    ],
)
def test_a_file_without_a_classifier_leaves_it_untrained(names, key, made, tmp_path):
    _, state = made()
    torch.manual_seed(5)
    found = loaded(wrapped(key)(names(state), tmp_path))
    assert found.untrained == ("head",)
    assert found.config.num_classes == 9  # the card's
    for name, value in found.state_dict().items():
        if not name.startswith("head"):
            assert torch.equal(value, state[name]), name


def test_averaged_weights_come_first(made, tmp_path):
    wanted, state = made()
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"state_dict": other, "state_dict_ema": state}, tmp_path / "x.pth")
    same_outputs(loaded(tmp_path / "x.pth"), wanted)


def test_half_precision_files(made, tmp_path):
    _, state = made(SQUARE)
    halves = {key: value.half() for key, value in state.items()}
    found = loaded(bare(halves, tmp_path), size=SIZE)
    assert found.pos_embed.dtype == torch.float32
    assert found.pos_embed.shape == (1, 25, 96)


@pytest.mark.parametrize(
    ("save", "rule", "changes"),
    [
        (bare, "timm", {}),
        (wrapped("state_dict"), "timm", {}),
        (wrapped("model"), "deit", {}),
        (wrapped("model"), "deit", DISTILLED),
        (bare, "deit", DISTILLED),
        (bare, "deit", MEAN),
        (bare, "timm", {**MEAN, "cls_token": False}),
        (google(), "google", {}),
        (huggingface(), "deit", {}),
    ],
)
def test_each_layout_resizes_by_its_own_rule(save, rule, changes, made, tmp_path):
    _, state = made(SQUARE, **changes)
    path = save(state, tmp_path)
    found = loaded(path, size=SIZE)
    prefix = found.config.prefix

    def matches(network, by):
        return torch.equal(network.pos_embed, resize_table(state["pos_embed"], prefix, (4, 6), by))

    assert [by for by in RULES if matches(found, by)] == [rule]
    for forced in RULES:
        assert matches(loaded(path, size=SIZE, positions=forced), forced)
    with torch.no_grad():
        assert found(torch.zeros(1, 3, *SIZE)).shape == (1, 7)


def test_options(made, tmp_path):
    config = configure(MICRO, SIZE, 4, {"eps": "1e-5", "positions": "deit", "table": "14x28"})
    assert (config.eps, config.num_classes, config.input_size) == (1e-5, 4, SIZE)
    assert configure(MICRO, SIZE, None, {}).num_classes == 9
    assert configure(BY_NAME["vit-huge-14"], (224, 518), None, {}).grid == (16, 37)
    _, state = made()
    path = huggingface()(state, tmp_path)
    assert loaded(path, eps=1e-6).config.eps == 1e-6
    assert loaded(path).config.eps == 1e-12
    assert loaded(path, table="4x6").config.grid == (4, 6)
    with pytest.raises(CheckpointError, match="24 rows for patches, not 5x5"):
        loaded(path, table="5x5")


def test_the_grid_told_is_that_of_a_network_without_a_class_token_too(made, tmp_path):
    _, state = made(pool="mean", cls_token=False)  # 4x6 rows, no square and no 8x6
    found = loaded(bare(state, tmp_path), size=(128, 96), table="4x6")
    assert not found.config.cls_token
    wanted = resize_table(state["pos_embed"], 0, (8, 6), "timm", stored=(4, 6))
    assert torch.equal(found.pos_embed, wanted)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"heads": 3}, "ViT has no option 'heads'; it has eps, positions, table"),
        ({"positions": "bilinear"}, "positions='bilinear' is not one of timm, google, deit"),
        ({"positions": ["timm"]}, "is not one of"),
        ({"eps": 0}, "eps=0 is no number above 0"),
        ({"eps": True}, "eps=True is no number"),
        ({"eps": "nan"}, "eps='nan' is no number"),
        ({"eps": 1}, "eps=1 is no number"),
        ({"table": "14"}, "table='14' is not a grid"),
        ({"table": "0x5"}, "table='0x5' is not a grid"),
        ({"table": (14, 14)}, "is not a grid"),
    ],
)
def test_wrong_options(options, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        configure(MICRO, SIZE, None, options)


@pytest.mark.parametrize(
    ("size", "further"),
    [
        ((230, 224), "--input-size 224 224"),
        ((224, 7), "--input-size 224 16"),
        ((0, 16), "--input-size 16 16"),
        ((8, 224, 224), "--input-size 16 224"),
        ((224,), "--input-size 224 224"),
        ((), "edgevit info vit-tiny-16"),
    ],
)
def test_sizes_that_patches_do_not_fill(size, further):
    with pytest.raises(UsageError, match="cuts its input into 16 px patches") as caught:
        configure(BY_NAME["vit-tiny-16"], size, None, {})
    assert caught.value.next == further


def test_who_wrote_it():
    assert layout_of({"patch_embed.proj.weight": 0}) == "timm"
    assert layout_of({"patch_embed.proj.weight": 0}, "state_dict") == "timm"
    assert layout_of({"patch_embed.proj.weight": 0}, "model") == "deit"
    assert layout_of({"mask_token": 0}) == "deit"
    assert layout_of({"embedding/kernel": 0}, "model") == "google"
    assert layout_of({}) == "timm"


@pytest.mark.parametrize(
    ("save", "changes", "recipe"),
    [
        (bare, {}, None),  # timm's, or anybody's: the card's own
        (google(), {}, None),
        (wrapped("state_dict"), {}, None),
        (wrapped("model"), {}, "deit"),
        (bare, DISTILLED, "deit"),
        (bare, MEAN, "mae"),
        (bare, {**MEAN, "cls_token": False}, None),  # timm's own mean pooling
        (wrapped("model"), MEAN, "mae"),
        (huggingface(), {}, "huggingface"),
        (huggingface(later=True), {}, "huggingface"),
        (huggingface(root="deit."), DISTILLED, "deit"),
    ],
)
def test_a_files_source_tells_how_its_pictures_are_prepared(save, changes, recipe, made, tmp_path):
    _, state = made(**changes)
    checkpoint = read_checkpoint(save(state, tmp_path), PREFER)
    config = configure(MICRO, SIZE, None, {})
    adapted = adapt(checkpoint.tensors, MICRO, config, {}, container=checkpoint.container)
    assert adapted.preparation == recipe


def test_adapting_leaves_the_given_tensors_alone(made):
    _, state = made(SQUARE)
    config = configure(MICRO, SIZE, None, {})
    for names in (state, mae_pretraining(state), huggingface_names(state)):
        before = {key: value.clone() for key, value in names.items()}
        adapt(names, MICRO, config, {})
        assert list(names) == list(before)
        assert all(torch.equal(names[key], value) for key, value in before.items())


# What is refused.


def test_stray_and_lost_keys_are_named(made, tmp_path):
    _, state = made()
    cases = [
        ({**state, "reg_token": torch.ones(1, 4, 96)}, ("reg_token",), ()),
        ({**state, "blocks.0.ls1.gamma": torch.ones(96)}, ("blocks.0.ls1.gamma",), ()),
        ({**state, "decoder_pred.bias": torch.ones(9)}, ("decoder_pred.bias",), ()),
        ({k: v for k, v in state.items() if k != "norm.bias"}, (), ("norm.bias",)),
        ({k: v for k, v in state.items() if k != "pos_embed"}, (), ("pos_embed",)),
        ({k: v for k, v in state.items() if k != "head.weight"}, (), ("head.weight",)),
    ]
    for names, unexpected, missing in cases:
        with pytest.raises(CheckpointMismatch) as caught:
            loaded(wrapped("state_dict")(names, tmp_path))
        assert caught.value.unexpected == unexpected
        assert caught.value.missing == missing


def test_a_lost_class_token_is_a_fault_and_no_other_network(made, tmp_path):
    _, state = made(SQUARE)
    del state["cls_token"]
    with pytest.raises(CheckpointMismatch) as caught:
        loaded(bare(state, tmp_path), size=SQUARE)
    assert caught.value.missing == ("cls_token",)


@pytest.mark.parametrize(
    "lost",
    [
        "encoder.layer.2.attention.attention.key.weight",
        "encoder.layer.2.attention.attention.key.bias",
    ],
)
def test_a_lost_part_of_qkv_is_named_in_transformers_files(lost, made, tmp_path):
    names = huggingface_names(made()[1])
    del names[f"vit.{lost}"]
    with pytest.raises(CheckpointMismatch) as caught:
        loaded(bare(names, tmp_path))
    part = lost.rpartition(".")[2]
    assert caught.value.missing == (f"blocks.2.attn.qkv.{part}",)
    assert set(caught.value.unexpected) == {f"blocks.2.attn.qkv.{w}.{part}" for w in "qv"}


def test_a_lost_part_of_qkv_is_named_in_googles_files(made, tmp_path):
    names = google_names(made()[1])
    at = "Transformer/encoderblock_2/"
    del names[f"{at}MultiHeadDotProductAttention_1/key/kernel"]
    names[f"{at}LayerScale_0/gamma"] = np.ones(3, np.float32)
    np.savez(tmp_path / "x.npz", **names)
    with pytest.raises(CheckpointMismatch) as caught:
        loaded(tmp_path / "x.npz")
    assert caught.value.missing == ("blocks.2.attn.qkv.weight",)
    assert f"{at}LayerScale_0/gamma" in caught.value.unexpected


def test_heads_that_cannot_be(made, tmp_path):
    names = google_names(made()[1])
    key = "Transformer/encoderblock_3/MultiHeadDotProductAttention_1/key/kernel"
    names[key] = names[key].reshape(96, 6, 16)
    np.savez(tmp_path / "x.npz", **names)
    with pytest.raises(CheckpointError, match="attention has 3 and 6 heads"):
        loaded(tmp_path / "x.npz")
    names = {k: v[:, :0] if "query" in k or "key" in k else v for k, v in names.items()}
    np.savez(tmp_path / "y.npz", **names)
    with pytest.raises(CheckpointError, match="heads, which does not fit a network of 96 channels"):
        loaded(tmp_path / "y.npz")


@pytest.mark.parametrize("names", [dict, google_names, huggingface_names])
def test_lying_shapes_are_one_sentence(names, made):
    _, state = made(SQUARE, representation=96 if names is not huggingface_names else None)
    given = {key: torch.as_tensor(value) for key, value in names(state).items()}
    others = re.compile(r"(?:blocks\.|layer\.|encoderblock_)[02345]")  # one block stands for all
    lies = [key for key in given if not others.search(key)]
    assert len(lies) > 20
    shapes = ((), (0,), (0, 96), (1 << 17, 1), (1, 0, 96), (1, 3, 96))
    refuse_lying_shapes(fitted, given, lies, shapes)


def test_a_table_that_holds_no_floats_is_left_for_the_loader(made, tmp_path):
    _, state = made()
    state["pos_embed"] = torch.ones(1, 25, 96, dtype=torch.int64)
    with pytest.raises(CheckpointError, match="holds int64 values for pos_embed"):
        loaded(wrapped("state_dict")(state, tmp_path))


def shapes_of(name, names=dict, **changes):
    card = BY_NAME[name]
    with torch.device("meta"):
        config = replace(configure(card, card.input_size, None, {}), **changes)
        state = build(card, config, False).state_dict()
    if names is google_names:  # numpy has no tensors without memory
        state = {key: torch.zeros(1).expand(value.shape) for key, value in state.items()}
        given = {}
        for key in ("patch_embed.proj.weight", "pos_embed"):
            given.update(google_names({key: state[key]}))
        state = {**given, **{k: torch.zeros(1) for k in google_blocks(config.depth)}}
        return {key: tuple(value.shape) for key, value in state.items()}
    return {key: tuple(value.shape) for key, value in names(state).items()}


def google_blocks(depth):
    return [f"Transformer/encoderblock_{index}/LayerNorm_0/bias" for index in range(depth)]


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_a_file_is_recognized_by_width_patch_and_depth(name):
    assert recognize(shapes_of(name)) == name
    assert recognize(shapes_of(name, huggingface_names)) == name
    later = {"root": "deit.", "later": True}
    assert recognize(shapes_of(name, lambda s: huggingface_names(s, **later))) == name


@pytest.mark.parametrize("name", ["vit-tiny-16", "vit-base-32", "vit-micro"])
def test_googles_files_are_recognized(name):
    shapes = shapes_of(name, google_names)
    assert recognize(shapes) == name
    assert recognize({f"params/{key}": shape for key, shape in shapes.items()}) == name


def test_what_is_no_vit_is_not_recognized():
    shapes = shapes_of("vit-tiny-16")
    assert recognize({}) is None
    assert recognize({k: v for k, v in shapes.items() if k != "pos_embed"}) is None  # BEiT's
    assert recognize({f"backbone.{key}": shape for key, shape in shapes.items()}) is None
    assert recognize({**shapes, "patch_embed.proj.weight": (96, 3, 7, 7)}) is None  # MViTv2's
    assert recognize({**shapes, "patch_embed.proj.weight": ()}) is None
    assert recognize({**shapes, "blocks.12.norm1.bias": (192,)}) is None


def test_another_variants_file_names_the_likely_one(tmp_path, seeded):
    card = BY_NAME["vit-tiny-16"]
    network = build(card, configure(card, (32, 32), None, {}), False)
    torch.save(network.state_dict(), tmp_path / "x.pth")
    with pytest.raises(
        CheckpointMismatch, match="it looks like a vit-tiny-16 checkpoint"
    ) as caught:
        loaded(tmp_path / "x.pth")
    assert caught.value.next.startswith("edgevit export vit-tiny-16 --weights")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"state_dict": {"fc.weight": torch.ones(2, 2)}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointMismatch, match="does not fit the network"):
        loaded(tmp_path / "x.pth")


def test_every_option_is_named_in_the_docstring():
    assert layout.OPTIONS == ("eps", "positions", "table")
    assert all(f"`{name}`" in (configure.__doc__ or "") for name in layout.OPTIONS)
