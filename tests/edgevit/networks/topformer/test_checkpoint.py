"""TopFormer's files: what shapes and keys tell, what they cannot, and what is refused."""

from dataclasses import replace

import pytest
import torch

from edgevit.checkpoints.strict import CheckpointMismatch
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.create import create_model
from edgevit.networks.topformer.checkpoint import PREFER, adapt, configure, recognize, rename
from edgevit.networks.topformer.network import INJECTIONS, build, config_of
from edgevit.networks.zoo import MODELS, model_card
from tests.support.refused import refuse_lying_shapes


@pytest.fixture
def saved(tmp_path, state_of):
    """A file with seeded weights of a network, and the weights."""

    def save(network, wrap=lambda state: {"state_dict": state, "meta": {"epoch": 1}}, seed=1):
        state = state_of(network, seed)
        path = tmp_path / f"weights-{len(list(tmp_path.iterdir()))}.pth"
        torch.save(wrap(state), path)
        return path, state

    return save


def of_config(variant="t", **changes):
    card = model_card(f"topformer-{variant}")
    return build(card, replace(config_of(card), **changes), False)


def loaded_as_given(network, state):
    return all(torch.equal(network.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("t", {}),
        ("t", {"num_classes": 171}),
        ("t", {"num_classes": 1}),
        ("t", {"depthwise_fuse": False, "num_classes": 19}),
        ("b", {"depthwise_fuse": False, "decode_channels": 128, "head_channels": 128}),
        ("s", {"depthwise_fuse": True}),
        ("b", {"depthwise_fuse": False, "head_channels": 64}),
        ("t", {"injection": "muli_sum_cbr"}),
    ],
)
def test_shapes_tell_classes_widths_fuse_and_injection(variant, changes, saved):
    network = of_config(variant, **changes)
    path, state = saved(network)
    found = create_model(f"topformer-{variant}", weights=path)
    assert found.config == network.config
    assert loaded_as_given(found, state)


@pytest.mark.parametrize("kind", ["fuse_sum", "fuse_multi"])
def test_two_injections_have_the_same_keys_and_must_be_told(kind, saved):
    path, state = saved(of_config(injection=kind))
    with pytest.raises(CheckpointError, match="fuse_sum or fuse_multi, which have the same"):
        create_model("topformer-t", weights=path)
    with pytest.raises(CheckpointError, match="give one"):
        create_model("topformer-t", weights=path, injection="muli_sum")
    found = create_model("topformer-t", weights=path, injection=kind)
    assert found.config.injection == kind
    assert loaded_as_given(found, state)


@pytest.mark.parametrize("held", ["muli_sum", "muli_sum_cbr"])
@pytest.mark.parametrize("asked", INJECTIONS)
def test_an_injection_that_the_file_contradicts_is_refused(held, asked, saved):
    path, _ = saved(of_config(injection=held))
    if asked == held:
        assert create_model("topformer-t", weights=path, injection=asked).config.injection == held
        return
    with pytest.raises(CheckpointError, match=f"holds injection {held}, not {asked}") as caught:
        create_model("topformer-t", weights=path, injection=asked)
    assert caught.value.next == f"--option injection={held}"


def test_token_stride_is_an_option_that_no_shape_tells(saved):
    path, _ = saved(of_config())
    assert create_model("topformer-t", weights=path, token_stride=32).config.token_stride == 32
    assert create_model("topformer-t", weights=path).config.token_stride == 64


def pre_release(key):
    """A released key under the name it had before."""
    for new, old in (
        ("tpm.", "patch_embed."),
        ("SIM.", "fuse_blocks."),
        ("local_embedding.", "to_feat1."),
        ("global_embedding.", "to_feat2."),
        ("global_act.", "fuse2."),
    ):
        key = key.replace(new, old)
    return key


@pytest.mark.parametrize("kind", ["muli_sum", "muli_sum_cbr"])
def test_pre_release_names(kind, saved):
    path, state = saved(
        of_config(injection=kind),
        lambda s: {"state_dict": {pre_release(key): value for key, value in s.items()}},
    )
    assert loaded_as_given(create_model("topformer-t", weights=path), state)


@pytest.mark.parametrize("task", ["", "-cls", "-features"])
@pytest.mark.parametrize("injection", INJECTIONS)
def test_renaming_brings_pre_release_names_back_and_leaves_released_ones(task, injection):
    options = {} if task == "-cls" else {"injection": injection}
    state = create_model(f"topformer-s{task}", **options).state_dict()
    assert list(rename(state)) == list(state)
    # Before the release there was no other injection than the one that multiplies and sums.
    if injection.startswith("muli"):
        older = {pre_release(key): value for key, value in state.items()}
        assert list(rename(older)) == list(state)


def test_a_pre_release_backbone_file_starts_the_backbone(saved):
    path, state = saved(
        create_model("topformer-t-cls"),
        lambda s: {"state_dict": {pre_release(key): value for key, value in s.items()}},
    )
    with pytest.warns(UserWarning, match="has no weights for"):
        network = create_model("topformer-t", weights=path)
    key = "tpm.layer3.conv.4.c.weight"
    assert torch.equal(network.state_dict()[f"backbone.{key}"], state[key])


def imagenet(variant, state_of):
    """Both averaged and last weights, as timm writes them."""
    network = create_model(f"topformer-{variant}-cls")
    ema, last = state_of(network, seed=1), state_of(network, seed=2)
    return ema, {"epoch": 599, "arch": "topformer", "state_dict": last, "state_dict_ema": ema}


@pytest.mark.parametrize("variant", ["t", "s", "b"])
def test_the_classifier_takes_the_averaged_weights_strictly(variant, tmp_path, state_of):
    ema, content = imagenet(variant, state_of)
    path = tmp_path / "imagenet.pth"
    torch.save(content, path)
    network = create_model(f"topformer-{variant}-cls", weights=path)
    assert loaded_as_given(network, ema)
    assert network.config.num_classes == 1000


def test_averaged_weights_come_first():
    assert PREFER[:2] == ("state_dict_ema", "state_dict")


@pytest.mark.parametrize(
    ("task", "untrained"),
    [("", ("backbone.SIM", "decode_head")), ("-features", ("backbone.SIM",))],
)
def test_backbone_init(task, untrained, tmp_path, state_of):
    ema, content = imagenet("t", state_of)
    path = tmp_path / "topformer-T-224-66.2.pth"
    torch.save(content, path)
    torch.manual_seed(4)
    with pytest.warns(UserWarning, match="random start") as seen:
        network = create_model(f"topformer-t{task}", weights=path)
    assert str(seen[0].message) == (
        "topformer-T-224-66.2.pth has no weights for"
        f" {' and '.join(untrained)}, which keep their random start"
    )
    state = network.state_dict()
    for key, value in state.items():
        trained = ema.get(key.removeprefix("backbone."))
        if key.startswith(untrained):
            assert trained is None
        else:
            assert torch.equal(value, trained), key


def test_a_backbone_file_with_a_stray_or_a_lost_key_is_refused(tmp_path, state_of):
    ema, _ = imagenet("t", state_of)
    path = tmp_path / "x.pth"
    torch.save({**ema, "tpm.layer99.w": torch.ones(1)}, path)
    with pytest.raises(CheckpointMismatch) as caught:
        create_model("topformer-t", weights=path)
    assert caught.value.unexpected == ("backbone.tpm.layer99.w",)
    assert caught.value.missing == ()
    del ema["trans.transformer_blocks.3.mlp.fc2.bn.bias"]
    torch.save(ema, path)
    with pytest.raises(CheckpointMismatch) as caught:
        create_model("topformer-t", weights=path)
    assert caught.value.missing == ("backbone.trans.transformer_blocks.3.mlp.fc2.bn.bias",)


@pytest.mark.parametrize("prefix", ["backbone.", ""])
def test_features_from_a_segmentation_file_or_a_bare_backbone(prefix, tmp_path, state_of):
    state = state_of(of_config("s", num_classes=7, decode_channels=64, head_channels=64))
    if not prefix:
        state = {
            key.removeprefix("backbone."): value
            for key, value in state.items()
            if key.startswith("backbone.")
        }
    path = tmp_path / "x.pth"
    torch.save(state, path)
    network = create_model("topformer-s-features", weights=path)
    assert network.config.decode_channels == 64
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[prefix + key.removeprefix("backbone.")])


def shapes_of(name, **options):
    with torch.device("meta"):
        state = create_model(name, **options).state_dict()
    return {key: tuple(value.shape) for key, value in state.items()}


@pytest.mark.parametrize(
    "name", sorted(name for name, card in MODELS.items() if card.architecture == "topformer")
)
def test_a_file_is_recognized_by_its_first_stage(name):
    # A feature network's file is its segmentation network's without the head.
    assert recognize(shapes_of(name)) == name.replace("-features", "")
    assert recognize({pre_release(k): shape for k, shape in shapes_of(name).items()}) == (
        name.replace("-features", "")
    )


def test_what_is_no_topformer_is_not_recognized():
    assert recognize({"patch_embed.proj.weight": (768, 3, 16, 16)}) is None
    assert recognize({"backbone.tpm.layer2.conv.4.c.weight": (7, 64, 1, 1)}) is None
    assert recognize({"backbone.tpm.layer2.conv.4.c.weight": ()}) is None
    assert recognize({}) is None


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        ("topformer-t", "topformer-s"),
        ("topformer-s", "topformer-b"),
        ("topformer-b", "topformer-t"),
        ("topformer-t-cls", "topformer-t"),
        ("topformer-t-cls", "topformer-s-cls"),
        ("topformer-b-features", "topformer-s"),
    ],
)
def test_another_models_file_names_the_likely_one(asked, held, saved):
    path, _ = saved(create_model(held))
    with pytest.raises(CheckpointMismatch) as caught:
        create_model(asked, weights=path)
    assert f"it looks like a {held} checkpoint." in caught.value.message
    assert caught.value.next == f"edgevit export {held} --weights {path}"


def test_another_variants_imagenet_file_names_the_likely_variant(saved):
    path, _ = saved(create_model("topformer-s-cls"))
    with pytest.raises(CheckpointMismatch, match="it looks like a topformer-s") as caught:
        create_model("topformer-t", weights=path)
    assert caught.value.next.startswith("edgevit export topformer-s")


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"fc.weight": torch.ones(2, 2)}}, path)
    for name in ("topformer-t", "topformer-t-cls", "topformer-t-features"):
        with pytest.raises(CheckpointMismatch, match="does not fit the network"):
            create_model(name, weights=path)


def test_lying_shapes_are_one_sentence(state_of, tmp_path):
    path = tmp_path / "x.pth"

    def load(state):
        torch.save(state, path)
        create_model("topformer-t", weights=path)

    refuse_lying_shapes(
        load,
        state_of(of_config()),
        (
            "decode_head.conv_seg.weight",
            "decode_head.linear_fuse.conv.weight",
            "backbone.SIM.1.local_embedding.conv.weight",
            "backbone.tpm.layer2.conv.4.c.weight",
        ),
        (
            *((), (3,), (0, 3, 1, 1), (1 << 20, 1, 1, 1)),
            *((150, 256, 1, 1), (150, 3, 1, 1), (7, 1, 1, 1)),
        ),
    )


def test_the_classifiers_count_comes_from_its_head(saved):
    path, state = saved(create_model("topformer-t-cls", num_classes=21))
    network = create_model("topformer-t-cls", weights=path)
    assert network.config.num_classes == 21
    assert loaded_as_given(network, state)
    with pytest.raises(CheckpointError, match="holds 21 classes, not 1000"):
        create_model("topformer-t-cls", weights=path, num_classes=1000)


def test_configure_is_the_variants_table_with_options():
    b, features = model_card("topformer-b"), model_card("topformer-t-features")
    assert configure(b, (512, 512), None, {}) == config_of(b)
    options = {"injection": "fuse_multi", "token_stride": 32}
    changed = configure(features, (512, 512), None, options)
    assert (changed.injection, changed.token_stride) == ("fuse_multi", 32)
    with pytest.raises(UsageError):
        configure(b, (512, 512), None, {"injection": None})


def test_adapting_leaves_the_given_tensors_alone():
    state = of_config().state_dict()
    keys = list(state)
    card = model_card("topformer-t-features")
    adapted = adapt(state, card, config_of(card), {})
    assert list(state) == keys
    assert not any(key.startswith("decode_head") for key in adapted.tensors)
