"""create_model: what it takes, what it refuses, and what it leaves alone."""

import warnings

import pytest
import torch

import edgevit
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.create import create_model, load_network


def test_the_documented_call(tmp_path, state_of):
    path = tmp_path / "x.pth"
    state = state_of(create_model("topformer-t"))
    torch.save({"state_dict": state, "meta": {"CLASSES": ("a",)}}, path)
    network = edgevit.create_model("topformer-t", weights=path, input_size=(448, 448))
    assert not network.training
    assert network.input_size == (448, 448)
    assert torch.equal(network.decode_head.conv_seg.bias, state["decode_head.conv_seg.bias"])
    same = edgevit.create_model("topformer-t", weights=str(path), num_classes=150)
    assert torch.equal(same.decode_head.conv_seg.weight, state["decode_head.conv_seg.weight"])


def test_the_checkpoint_travels_with_the_network(tmp_path, state_of):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": state_of(create_model("topformer-t", num_classes=3))}, path)
    loaded = load_network("topformer-t", path)
    assert loaded.checkpoint is not None
    assert loaded.checkpoint.path == path
    assert loaded.network.config.num_classes == 3
    assert load_network("topformer-t").checkpoint is None


def test_the_network_knows_how_its_pictures_are_prepared(tmp_path, state_of):
    assert create_model("vit-micro").preparation == "drawn"
    path = tmp_path / "deit.pth"
    torch.save({"model": state_of(create_model("vit-micro"))}, path)
    assert create_model("vit-micro", weights=path).preparation == "deit"
    path = tmp_path / "cifar10_t2t-vit.pth"
    state = state_of(create_model("t2t-vit-micro", num_classes=10))
    torch.save({"net": {f"module.{k}": v for k, v in state.items()}, "acc": 98.3}, path)
    assert create_model("t2t-vit-micro", weights=path).preparation == "t2t-cifar"


def test_class_count_of_an_untrained_network():
    assert create_model("topformer-t", num_classes=19).decode_head.conv_seg.out_channels == 19
    assert create_model("topformer-t-cls", num_classes=10).head.l.out_features == 10
    assert create_model("topformer-t-cls").head.l.out_features == 1000


def test_options_reach_the_network():
    network = create_model("topformer-t", token_stride=32, injection="fuse_sum")
    assert network.config.token_stride == 32
    assert network.backbone.ppa.stride == 1
    assert hasattr(network.backbone.SIM[1], "fuse1")
    assert create_model("topformer-t").config.token_stride == 64
    assert create_model("topformer-t-cls").config.token_stride == 32


@pytest.mark.parametrize(
    ("name", "arguments", "sentence", "next_"),
    [
        ("topformer-t", {"outputs": "logits"}, "'logits' is neither 'task' nor 'all'", None),
        ("topformer-t", {"num_classes": 0}, "cannot have 0 classes", "edgevit info topformer-t"),
        ("topformer-t", {"num_classes": -3}, "cannot have -3 classes", "edgevit info topformer-t"),
        (
            "topformer-t-features",
            {"num_classes": 19},
            "cannot have 19 classes",
            "edgevit info topformer-t-features",
        ),
        ("topformer-t", {"input_size": (448,)}, "two numbers, height and width", None),
        ("topformer-t", {"input_size": (448, 448, 3)}, "two numbers", None),
        ("topformer-t", {"input_size": (448, 4.5)}, "two numbers", None),
        ("topformer-t", {"input_size": (0, 448)}, "0x448 is outside 32 to 4096", None),
        ("topformer-t", {"input_size": (448, -448)}, "448x-448 is outside", None),
        ("topformer-t", {"input_size": (31, 448)}, "31x448 is outside", None),
        ("topformer-t", {"input_size": (448, 10**9)}, "448x1000000000 is outside", None),
        ("topformer-t", {"injection": "sum"}, "injection='sum' is not one of muli_sum, mul", None),
        ("topformer-t", {"token_stride": 16}, "token_stride=16 is not one of 64, 32", None),
        ("topformer-t", {"depth": 5}, "no option 'depth'; it has injection and token_s", None),
        (
            "topformer-t-cls",
            {"injection": "fuse_sum"},
            "topformer-t-cls has no injection",
            "edgevit info topformer-t-cls",
        ),
        ("topformer-x", {}, "There is no model 'topformer-x'", "edgevit list"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(name, arguments, sentence, next_):
    with pytest.raises(UsageError) as caught:
        create_model(name, **arguments)
    assert sentence in caught.value.message
    assert caught.value.message.count("\n") == 0
    assert caught.value.exit_code == 2
    if next_:
        assert caught.value.next == next_


def test_a_class_count_that_is_not_the_checkpoints_is_refused(tmp_path, state_of):
    path = tmp_path / "x.pth"
    torch.save(state_of(create_model("topformer-t", num_classes=19)), path)
    with pytest.raises(CheckpointError, match=r"x\.pth holds 19 classes, not 150\.") as caught:
        create_model("topformer-t", weights=path, num_classes=150)
    assert "--num-classes" in caught.value.next


def test_an_imagenet_file_starts_the_backbone_and_warns_of_the_rest(tmp_path, state_of):
    path = tmp_path / "topformer-T-224-66.2.pth"
    torch.save({"state_dict": state_of(create_model("topformer-t-cls"))}, path)
    with pytest.warns(UserWarning, match=r"backbone\.SIM and decode_head, which keep") as seen:
        network = create_model("topformer-t", weights=path, num_classes=4)
    assert seen[0].filename == __file__, "the warning points at the caller"
    assert network.untrained == ("backbone.SIM", "decode_head")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert create_model("topformer-t-cls", weights=path).untrained == ()


def test_building_twice_from_one_file_gives_the_same_numbers(tmp_path, state_of):
    path = tmp_path / "x.pth"
    torch.save(state_of(create_model("topformer-t", num_classes=2)), path)
    one, two = (create_model("topformer-t", weights=path, input_size=(64, 64)) for _ in range(2))
    x = torch.ones(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(one(x), two(x))
