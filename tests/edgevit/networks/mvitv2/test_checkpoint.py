"""MViTv2's layouts: the reference cases, each project's file, inflation, tables, refusals."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.checkpoints.strict import CheckpointMismatch, load_strict
from edgevit.difference import difference
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.mvitv2 import network as mvitv2
from edgevit.networks.mvitv2.cards import CARDS
from edgevit.networks.mvitv2.checkpoint import (
    INFLATIONS,
    OPTIONS,
    PREFER,
    TASK_OPTIONS,
    adapt,
    configure,
    recognize,
)
from edgevit.networks.mvitv2.network import IMAGE, MViT, build, config_of, plan_blocks
from tests.support.refused import refuse_lying_shapes

BY_NAME = {card.name: card for card in CARDS}
PARITY = Path(__file__).resolve().parents[3] / "parity"
BOUND = 2e-4
MICRO, MICRO_VIDEO = BY_NAME["mvitv2-micro"], BY_NAME["mvitv2-micro-video"]
T_FPN = BY_NAME["mvitv2-t-fpn"]


def load(card, path, size=None, all_outputs=False, classes=None, **options):
    """What create_model does with a layout; a path or the tensors themselves."""
    config = configure(card, size or card.input_size, classes, options)
    tensors = path if isinstance(path, dict) else read_checkpoint(path, PREFER).tensors
    adapted = adapt(tensors, card, config, options)
    network = build(card, adapted.config, all_outputs).eval()
    fresh = adapted.untrained
    state = network.state_dict().items()
    start = {k: value for k, value in state if fresh and k.startswith(fresh)}
    given = {**start, **adapted.tensors}
    source = "x.pth" if isinstance(path, dict) else str(path)
    load_strict(network, given, source=source, likely=recognize)
    return network, adapted


def save(path, content):
    torch.save(content, path)
    return path


def run(network):
    torch.manual_seed(1)
    config = network.config
    with torch.no_grad():
        return network(torch.randn(1, 3, *config.input_size))


CASES = {
    "mvit_t_fb_in1k": ("mvitv2-t", None),
    "mvit_s_video_8x64": ("mvitv2-s-video", (8, 64, 64)),
    "mvit_t_det_fpn_256x320": ("mvitv2-t-fpn", (256, 320)),
}


def write_as_detectron2(case, seeded, path):
    """The official `model_final_*.pkl`: pickle.dump of arrays."""
    arrays = {f"backbone.{key}": value for key, value in seeded.state_dict(case).items()}
    with path.open("wb") as stream:
        pickle.dump({"model": arrays, "__author__": "detectron2"}, stream)


@pytest.mark.parametrize("name", CASES)
def test_official_outputs(name, seeded, tmp_path):
    model, size = CASES[name]
    case = seeded.load_case(name, PARITY)
    path = tmp_path / "official.pyth"
    if model.endswith("-fpn"):
        write_as_detectron2(case, seeded, path)
    else:
        seeded.write_checkpoint(case, path)
    network, adapted = load(BY_NAME[model], path, size, all_outputs=True)
    assert adapted.untrained == ()
    with torch.no_grad():
        outputs = network(torch.from_numpy(seeded.case_input(case)))
    expected = np.load(PARITY / f"{name}.npz")
    for key, spec in case["outputs"].items():
        got = outputs["logits" if key == "out" else key].numpy()
        assert list(got.shape) == spec["shape"]
        sample = got.ravel()[seeded.sample_indices(got.size)]
        assert difference(sample, expected[key]) < BOUND, key


def test_a_detectors_arrays_in_a_torch_file(seeded, tmp_path):
    path = tmp_path / "model.pkl"
    seeded.write_checkpoint(seeded.load_case("mvit_t_det_fpn_256x320", PARITY), path)
    assert read_checkpoint(path, PREFER).container == "model"


@pytest.fixture(scope="module")
def micro(state_of):
    """A small picture network in facebookresearch's layout."""
    return state_of(MViT(IMAGE["micro"]))


@pytest.fixture(scope="module")
def micro_cls(state_of):
    """The same with a class token, as the ImageNet-21k files."""
    return state_of(MViT(mvitv2.with_cls_token(IMAGE["micro"])))


def in_timm(state, depths=(1, 1, 3, 1), shortcut="shortcut_proj_attn"):
    """timm's names, block by block."""
    places = [(s, j) for s, depth in enumerate(depths) for j in range(depth)]
    renamed = {}
    for key, value in state.items():
        if key.startswith("blocks."):
            _, index, tail = key.split(".", 2)
            stage, place = places[int(index)]
            if tail.startswith("proj."):
                tail = f"{shortcut}.{tail.removeprefix('proj.')}"
            key = f"stages.{stage}.blocks.{place}.{tail}"
        renamed[key.replace("head.projection", "head.fc")] = value
    return renamed


def test_a_picture_file_loads_under_every_container(micro, tmp_path):
    wanted = None
    for number, content in enumerate(
        (
            {"epoch": 299, "model_state": micro, "optimizer_state": {}, "cfg": "MVIT: {}"},
            {"state_dict": micro},
            {"model": micro, "iteration": 3},
            micro,
            {"model_state": {f"module.{key}": value for key, value in micro.items()}},
            {"state_dict": dict.fromkeys(micro, torch.zeros(1)), "state_dict_ema": micro},
        )
    ):
        network, _ = load(MICRO, save(tmp_path / f"{number}.pyth", content))
        wanted = run(network) if wanted is None else wanted
        assert torch.equal(run(network), wanted)


def test_kernels_of_one_frame_are_squeezed(micro, tmp_path):
    deep = {k: v.unsqueeze(2) if v.ndim == 4 else v for k, v in micro.items()}
    assert any(v.ndim == 5 for v in deep.values())
    network, _ = load(MICRO, save(tmp_path / "deep.pyth", {"model_state": deep}))
    plain, _ = load(MICRO, save(tmp_path / "plain.pyth", {"model_state": micro}))
    assert torch.equal(run(network), run(plain))


def test_timm_without_a_class_token_is_the_same(micro, tmp_path):
    network, adapted = load(MICRO, save(tmp_path / "timm.pth", in_timm(micro)))
    plain, _ = load(MICRO, save(tmp_path / "fb.pyth", {"model_state": micro}))
    assert not adapted.config.cls_query
    assert torch.equal(run(network), run(plain))


def test_the_class_token_is_found_and_its_rule_is_the_projects(micro_cls, tmp_path):
    ours, adapted = load(MICRO, save(tmp_path / "fb.pyth", {"model_state": micro_cls}))
    assert adapted.config.cls_token
    assert not adapted.config.cls_query
    timm, adapted = load(MICRO, save(tmp_path / "timm.pth", {"state_dict": in_timm(micro_cls)}))
    assert adapted.config.cls_token
    assert adapted.config.cls_query
    assert (run(ours) - run(timm)).abs().max() > 1e-2
    for block in timm.blocks:
        block.attn.cls_query = False
    assert torch.equal(run(ours), run(timm))


def test_timms_files_prepare_their_pictures_otherwise(micro, tmp_path):
    _, official = load(MICRO, save(tmp_path / "official.pth", micro))
    _, timm = load(MICRO, save(tmp_path / "timm.pth", in_timm(micro)))
    assert (official.preparation, timm.preparation) == (None, "timm-mvit")


@pytest.mark.parametrize("timm", [False, True])
def test_channels_that_double_in_the_mlp_are_found(timm, state_of, tmp_path):
    config = replace(IMAGE["micro"], expand_in_attention=False)
    state = state_of(MViT(config))
    content = in_timm(state, shortcut="shortcut_proj_mlp") if timm else {"model_state": state}
    network, adapted = load(MICRO, save(tmp_path / "x.pyth", content))
    assert not adapted.config.expand_in_attention
    assert network.blocks[0].proj.out_features == 48


def test_l_knows_both_of_its_files():
    card = BY_NAME["mvitv2-l"]
    for config in (IMAGE["l"], mvitv2.with_cls_token(IMAGE["l"])):
        with torch.device("meta"):
            state = MViT(replace(config, num_classes=19168)).state_dict()
        start = configure(card, (224, 224), None, {})
        adapted = adapt(state, card, start, {})
        assert adapted.config == replace(config, num_classes=19168)
        assert adapted.tensors.keys() == state.keys()


def test_classes_come_from_the_head(state_of, tmp_path):
    path = save(tmp_path / "x.pyth", state_of(MViT(replace(IMAGE["micro"], num_classes=3))))
    _, adapted = load(MICRO, path)
    assert adapted.config.num_classes == 3


def halves(rows, length):
    """Half-pixel linear interpolation, restated in numpy."""
    place = ((np.arange(length) + 0.5) * len(rows) / length - 0.5).clip(0)
    low = np.floor(place).astype(int)
    part = (place - low)[:, None]
    return rows[low] * (1 - part) + rows[np.minimum(low + 1, len(rows) - 1)] * part


def test_tables_follow_the_input_size(micro, tmp_path):
    """timm's and SlowFast's rule at load, axis by axis."""
    path = save(tmp_path / "x.pyth", micro)
    network, adapted = load(MICRO, path, (160, 96))
    for index, plan in enumerate(plan_blocks(adapted.config)):
        for axis, length in zip("hw", plan.table_lengths, strict=True):
            key = f"blocks.{index}.attn.rel_pos_{axis}"
            got = network.state_dict()[key].numpy()
            assert np.abs(got - halves(micro[key].numpy(), length)).max() < 1e-5
    assert run(network).shape == (1, 9)
    same, _ = load(MICRO, path)
    assert all(torch.equal(value, micro[key]) for key, value in same.state_dict().items())


def test_a_clip_of_other_frames_and_sides(state_of, tmp_path):
    """SlowFast tested at another size: the stored tables, stretched once, in every block."""
    state = state_of(MViT(config_of(MICRO_VIDEO)))
    path = save(tmp_path / "x.pyth", {"model_state": state})
    network, adapted = load(MICRO_VIDEO, path, (16, 104, 64))
    assert adapted.config.table_size == (8, 96, 96)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    stretched = dict(state)
    for index, block in enumerate(network.blocks):
        sides = zip("thw", block.attn.query_grid, block.attn.key_grid, strict=True)
        for axis, queries, keys in sides:
            key, length = f"blocks.{index}.attn.rel_pos_{axis}", 2 * max(queries, keys) - 1
            stretched[key] = torch.from_numpy(halves(state[key].numpy(), length))
            block.attn.register_parameter(f"rel_pos_{axis}", torch.nn.Parameter(stretched[key]))
    assert stretched["blocks.5.attn.rel_pos_h"].shape[0] == 13  # 7 rows of keys, where 6.5 meet
    again, _ = load(MICRO_VIDEO, path, (16, 104, 64))
    assert difference(run(again).numpy(), run(network.float()).numpy()) < 1e-5


def test_a_clip_whose_maps_round_up_in_time_and_space(state_of, tmp_path):
    """SlowFast's convolutions round up where its tables round down; any size has an answer."""
    state = state_of(MViT(config_of(MICRO_VIDEO)))
    path = save(tmp_path / "x.pyth", {"model_state": state})
    network, _ = load(MICRO_VIDEO, path, (5, 62, 33))
    assert network.blocks[0].plan.grid == (3, 16, 9)
    assert run(network).shape == (1, 9)
    fresh = build(MICRO_VIDEO, configure(MICRO_VIDEO, (5, 62, 33), None, {})).eval()
    assert fresh.blocks[0].attn.rel_pos_t.shape[0] == 3
    assert run(fresh).shape == (1, 9)


def test_a_table_of_the_wrong_length_is_not_stretched(micro, tmp_path):
    wrong = {**micro, "blocks.2.attn.rel_pos_h": torch.zeros(9, 24)}
    path = save(tmp_path / "x.pyth", wrong)
    for size in (None, (160, 160)):
        with pytest.raises(CheckpointMismatch, match="does not fit the network") as caught:
            load(MICRO, path, size)
        assert "blocks.2.attn.rel_pos_h" in [m.key for m in caught.value.mismatched]


@pytest.fixture(scope="module")
def detector(seeded):
    """The reference case's tensors with a detector's other parts around them."""
    case = seeded.load_case("mvit_t_det_fpn_256x320", PARITY)
    arrays = seeded.state_dict(case)
    heads = {
        "proposal_generator.rpn_head.conv.weight": torch.zeros(2, 2),
        "roi_heads.box_head.fc1.weight": torch.zeros(2, 2),
    }
    return {**{f"backbone.{k}": torch.from_numpy(v) for k, v in arrays.items()}, **heads}


def lying(state, key, rows):
    return {**state, key: torch.zeros(rows, state[key].shape[1])}


@pytest.mark.parametrize("rows", [1, 3, 13, 15, 2047, 2049])
@pytest.mark.parametrize("axis", ["t", "h"])
def test_a_first_table_that_lies_is_the_one_to_blame(rows, axis, state_of):
    """The network is built for the card's size: a smaller map may have no fourth stage at all."""
    state, key = state_of(MViT(config_of(MICRO_VIDEO))), f"blocks.0.attn.rel_pos_{axis}"
    with pytest.raises(CheckpointMismatch) as caught:
        load(MICRO_VIDEO, lying(state, key, rows))
    assert [found.key for found in caught.value.mismatched] == [key]
    assert not caught.value.missing + caught.value.unexpected


def test_a_detectors_first_table_that_lies_is_the_one_to_blame(detector):
    state = lying(detector, "backbone.bottom_up.blocks.0.attn.rel_pos_w", 13)
    with pytest.raises(CheckpointMismatch) as caught:
        load(T_FPN, state, (64, 64))
    assert [m.key for m in caught.value.mismatched] == ["bottom_up.blocks.0.attn.rel_pos_w"]


def test_a_detectors_heads_are_left_behind(detector):
    network, adapted = load(T_FPN, detector, (64, 64))
    state = network.state_dict()
    assert adapted.untrained == ()
    assert len(state) == len(detector) - 2
    for key, value in state.items():
        assert torch.equal(value, detector[f"backbone.{key}"]), key


def test_a_backbone_without_its_prefix(detector):
    bare = {
        key.removeprefix("backbone."): value
        for key, value in detector.items()
        if key.startswith("backbone.")
    }
    network, _ = load(T_FPN, bare, (64, 64))
    assert network.state_dict().keys() == bare.keys()


def test_a_stray_key_of_a_detector_is_named(detector):
    stray = {**detector, "backbone.fpn_output9.weight": torch.zeros(3)}
    with pytest.raises(CheckpointMismatch) as caught:
        load(T_FPN, stray, (64, 64))
    assert caught.value.unexpected == ("fpn_output9.weight",)


@pytest.mark.parametrize("layout", ["facebookresearch", "timm"])
def test_a_classifier_starts_a_pyramid(layout):
    state = MViT(mvitv2.with_cls_token(IMAGE["t"])).state_dict()
    tensors = dict(state) if layout != "timm" else in_timm(state, (1, 2, 5, 2))
    network, adapted = load(T_FPN, tensors, (64, 64))
    assert adapted.untrained == ("bottom_up.scale", "fpn_")
    for key, value in network.state_dict().items():
        if key.startswith(adapted.untrained):
            assert key.removeprefix("bottom_up.") not in state
        else:
            assert torch.equal(value, state[key.removeprefix("bottom_up.")])
    dropped = {k for k in state if f"bottom_up.{k}" not in network.state_dict()}
    assert dropped == {
        "cls_token",
        "norm.weight",
        "norm.bias",
        "head.projection.weight",
        "head.projection.bias",
    }


def test_tables_of_another_pretraining_size_stay_as_stored():
    with torch.device("meta"):
        state = MViT(replace(IMAGE["t"], input_size=(256, 256))).state_dict()
    adapted = adapt(state, T_FPN, configure(T_FPN, (256, 320), None, {}), {})
    assert adapted.config.table_size == (256, 256)
    for key, value in adapted.tensors.items():
        assert value is state[key.removeprefix("bottom_up.")]


@pytest.mark.parametrize("how", INFLATIONS)
@pytest.mark.parametrize("cls_token", [False, True])
def test_a_picture_file_starts_a_video_network(how, cls_token, micro, micro_cls, tmp_path):
    state = micro_cls if cls_token else micro
    path = save(tmp_path / "x.pyth", {"model_state": state})
    network, adapted = load(MICRO_VIDEO, path, (8, 128, 128), classes=7, inflate=how)
    assert adapted.untrained == (("head.",) if cls_token else ("cls_token", "head."))
    assert network.head.projection.out_features == 7
    got = network.state_dict()
    for key in ("patch_embed.proj.weight", "blocks.1.attn.pool_q.weight"):
        frames = got[key].unbind(2)
        flat = state[key]
        for place, frame in enumerate(frames):
            share = {"repeat": 1.0, "mean": 1 / 3, "center": float(place == 1)}[how]
            assert torch.allclose(frame, flat * share)
    for index, plan in enumerate(plan_blocks(adapted.config)):
        prefix = f"blocks.{index}.attn."
        assert not got[f"{prefix}rel_pos_t"].any()
        assert torch.equal(got[f"{prefix}qkv.weight"], state[f"{prefix}qkv.weight"])
        key = f"{prefix}rel_pos_h"
        length = plan.table_lengths[1]
        assert np.abs(got[key].numpy() - halves(state[key].numpy(), length)).max() < 1e-5
    # Keys are strided twice as far in a clip, so one block's table is shorter than the picture's.
    assert got["blocks.2.attn.rel_pos_h"].shape[0] < state["blocks.2.attn.rel_pos_h"].shape[0]
    assert run(network).shape == (1, 7)


def test_a_centered_picture_network_sees_every_other_frame(micro_cls, tmp_path):
    path = save(tmp_path / "x.pyth", {"model_state": micro_cls})
    network, _ = load(MICRO_VIDEO, path, inflate="center")
    clip = torch.randn(1, 3, 8, 96, 96)
    other = clip.clone()
    other[:, :, 1::2] = 0
    with torch.no_grad():
        assert torch.equal(network(clip), network(other))


def test_a_picture_file_needs_to_be_told_how(micro, tmp_path):
    path = save(tmp_path / "x.pyth", {"model_state": micro})
    with pytest.raises(CheckpointError, match="picture network") as caught:
        load(MICRO_VIDEO, path)
    assert "inflate='center'" in caught.value.next
    assert "must be trained before it is exported" in caught.value.message


@pytest.mark.parametrize(
    ("variant", "classes", "recipe"),
    [("s", 400, None), ("b", 174, "mvit-video-ssv2"), ("l", 174, "mvit-video-ssv2-l")],
)
def test_something_something_is_told_by_its_classes(variant, classes, recipe):
    card = BY_NAME[f"mvitv2-{variant}-video"]
    config = configure(card, card.input_size, None, {})
    head = {"head.projection.weight": torch.zeros(classes, 768), "cls_token": torch.zeros(1)}
    adapted = adapt(head, card, config, {})
    assert (adapted.config.num_classes, adapted.preparation) == (classes, recipe)


def test_a_video_file_is_not_inflated(state_of, tmp_path):
    path = save(tmp_path / "x.pyth", state_of(MViT(config_of(MICRO_VIDEO))))
    with pytest.raises(CheckpointError, match="not that of a picture network"):
        load(MICRO_VIDEO, path, inflate="mean")


def test_a_foreign_file_is_not_inflated():
    with pytest.raises(CheckpointMismatch, match="does not fit the network"):
        load(MICRO_VIDEO, {"patch_embed.proj.weight": torch.ones(8, 3, 16, 16)}, inflate="mean")


def test_options_are_those_of_the_tasks():
    assert set(OPTIONS) == {name for names in TASK_OPTIONS.values() for name in names}
    assert configure(MICRO, (128, 128), None, {"cls_token": 1}).cls_token
    assert configure(MICRO, (128, 128), None, {"cls_token": True}).cls_token
    large = BY_NAME["mvitv2-l"]
    assert not configure(large, (224, 224), None, {}).expand_in_attention
    assert configure(large, (224, 224), None, {"cls_token": 1}).expand_in_attention
    huge = BY_NAME["mvitv2-h"]
    assert configure(huge, (224, 224), None, {}).cls_token
    assert not configure(huge, (224, 224), None, {"cls_token": 0}).cls_token
    assert configure(MICRO, (96, 160), 4, {}).num_classes == 4


@pytest.mark.parametrize(
    ("name", "size", "options", "sentence"),
    [
        ("mvitv2-t", (224, 224), {"inflate": "mean"}, "no option 'inflate'; it has cls_token"),
        ("mvitv2-t", (224, 224), {"cls_token": 2}, "cls_token=2 is neither 0 nor 1"),
        ("mvitv2-t", (224, 224), {"cls_token": "yes"}, "cls_token='yes' is neither"),
        ("mvitv2-s-video", (16, 224, 224), {"cls_token": 1}, "no option 'cls_token'; it has inf"),
        (
            "mvitv2-s-video",
            (16, 224, 224),
            {"inflate": "sum"},
            "'sum' is not one of center, repeat",
        ),
        ("mvitv2-t-fpn", (64, 64), {"inflate": "mean"}, "no option 'inflate'; it has none"),
        ("mvitv2-t", (16, 224, 224), {}, "takes an input size of height and width"),
        ("mvitv2-s-video", (224, 224), {}, "takes an input size of frames, height and width"),
        ("mvitv2-t", (224, 230), {}, "multiples of 32 pixels from 32, not 224x230"),
        ("mvitv2-t", (0, 224), {}, "multiples of 32 pixels from 32, not 0x224"),
        ("mvitv2-t-fpn", (100, 96), {}, "multiples of 32"),
        ("mvitv2-s-video", (1, 224, 224), {}, "takes 2 to 512 frames, not 1"),
        ("mvitv2-s-video", (0, 224, 224), {}, "takes 2 to 512 frames"),
        ("mvitv2-s-video", (10**6, 224, 224), {}, "takes 2 to 512 frames"),
        ("mvitv2-s-video", (16, 224, 31), {}, "any number of pixels from 32, not 224x31"),
    ],
)
def test_what_cannot_be_configured_is_refused(name, size, options, sentence):
    with pytest.raises(UsageError) as caught:
        configure(BY_NAME[name], size, None, options)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


def test_a_class_token_that_was_ruled_out_is_refused(micro_cls, tmp_path):
    path = save(tmp_path / "x.pyth", micro_cls)
    with pytest.raises(CheckpointError, match="has a class token"):
        load(MICRO, path, cls_token=0)


def test_a_class_token_that_is_not_there_is_missed(micro, tmp_path):
    path = save(tmp_path / "x.pyth", micro)
    with pytest.raises(CheckpointMismatch) as caught:
        load(MICRO, path, cls_token=1)
    assert caught.value.missing == ("cls_token",)


def test_a_video_file_without_its_class_token_is_missed(state_of, tmp_path):
    state = state_of(MViT(config_of(MICRO_VIDEO)))
    del state["cls_token"]
    with pytest.raises(CheckpointMismatch) as caught:
        load(MICRO_VIDEO, save(tmp_path / "x.pyth", state))
    assert caught.value.missing == ("cls_token",)


def shapes_of(card, config=None):
    with torch.device("meta"):
        state = build(card, config or config_of(card)).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_file_is_recognized(name):
    shapes = shapes_of(BY_NAME[name])
    assert recognize(shapes) == name
    if name.endswith("-fpn"):
        assert recognize({f"backbone.{key}": shape for key, shape in shapes.items()}) == name
    elif not name.endswith("-video"):
        depths = config_of(BY_NAME[name]).depths
        assert recognize(in_timm(shapes, depths)) == name


def test_what_is_no_mvitv2_is_not_recognized():
    assert recognize({}) is None
    assert recognize({"patch_embed.proj.weight": (768, 3, 16, 16)}) is None
    pool = "blocks.0.attn.pool_q.weight"
    assert recognize({"patch_embed.proj.weight": (), pool: ()}) is None
    assert recognize({"patch_embed.proj.weight": (96, 3, 7, 7), pool: (96, 1, 3, 3)}) is None


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("mvitv2-micro", "mvitv2-micro-video"),
        ("mvitv2-micro", "mvitv2-t"),
        ("mvitv2-micro", "mvitv2-t-fpn"),
        ("mvitv2-micro-video", "mvitv2-t-fpn"),
    ],
)
def test_another_models_file_names_the_likely_one(asked, held):
    card = BY_NAME[held]
    config = config_of(card)
    if card.task == "features":
        config = replace(config, input_size=(64, 64))
    with pytest.raises(CheckpointMismatch) as caught:
        load(BY_NAME[asked], build(card, config).state_dict(), (64, 64) if "fpn" in asked else None)
    assert f"it looks like a {held} checkpoint." in caught.value.message
    assert caught.value.next == f"edgevit export {held} --weights x.pth"
    assert "\n" not in caught.value.message


def test_a_file_of_something_else_is_refused(tmp_path):
    path = save(tmp_path / "x.pth", {"state_dict": {"fc.weight": torch.ones(2, 2)}})
    for card, size in ((MICRO, None), (MICRO_VIDEO, None), (T_FPN, (64, 64))):
        with pytest.raises(CheckpointMismatch, match="does not fit the network"):
            load(card, path, size)


def test_one_tensor_under_two_names_is_refused(micro, tmp_path):
    both = {**micro, **in_timm(micro)}
    with pytest.raises(CheckpointError, match="names of two projects"):
        load(MICRO, save(tmp_path / "x.pth", both))


@pytest.mark.parametrize(
    "missing", ["blocks.3.attn.rel_pos_w", "norm.weight", "head.projection.bias"]
)
def test_a_lost_key_is_named(missing, micro, tmp_path):
    state = {key: value for key, value in micro.items() if key != missing}
    with pytest.raises(CheckpointMismatch) as caught:
        load(MICRO, save(tmp_path / "x.pyth", state))
    assert caught.value.missing == (missing,)


@pytest.mark.parametrize(
    ("name", "key", "options"),
    [
        ("mvitv2-micro", "head.projection.weight", {}),
        # A picture's head is left out of a video network whatever its shape.
        ("mvitv2-micro-video", "norm.weight", {"inflate": "repeat"}),
    ],
)
def test_lying_shapes_are_one_sentence(name, key, options, micro, tmp_path):
    refuse_lying_shapes(
        lambda state: load(BY_NAME[name], save(tmp_path / "x.pyth", state), **options),
        micro,
        (
            key,
            "patch_embed.proj.weight",
            "blocks.0.attn.rel_pos_h",
            "blocks.0.attn.pool_q.weight",
            "cls_token",
        ),
        ((), (3,), (0, 3), (1 << 20, 1), (3, 24), (1, 1, 1, 1, 1)),
    )


def test_adapting_leaves_the_given_tensors_alone(micro):
    before = dict(micro)
    adapt(micro, MICRO, configure(MICRO, (160, 160), None, {}), {})
    assert micro.keys() == before.keys()
    assert all(micro[key] is before[key] for key in before)


def test_the_reference_cases_are_the_published_keys():
    for name, (model, size) in CASES.items():
        card = BY_NAME[model]
        config = configure(card, size or card.input_size, None, {})
        keys = json.loads((PARITY / f"{name}.json").read_text())["keys"]
        assert {k: tuple(v["shape"]) for k, v in keys.items()} == shapes_of(card, config)
