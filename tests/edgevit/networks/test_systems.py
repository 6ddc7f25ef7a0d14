"""Checkpoints of every system against networks of every system: each fits its own alone."""

from itertools import permutations

import pytest
import torch

from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.create import PartlyUntrained, create_model
from edgevit.networks.zoo import MODELS, SYSTEMS, model_card

# The smallest name of each, and the size that keeps this quick.
SMALLEST = {
    architecture: min(
        (card for card in MODELS.values() if card.architecture == architecture),
        key=lambda card: card.gmacs,
    ).name
    for architecture in SYSTEMS
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A checkpoint of each architecture, and the network it was taken from."""
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {}
    for architecture, name in SMALLEST.items():
        torch.manual_seed(0)
        network = create_model(name)
        path = folder / f"{architecture}.pth"
        torch.save({"state_dict": network.state_dict()}, path)
        made[architecture] = (path, network)
    return made


def test_every_card_has_a_system():
    assert {card.architecture for card in MODELS.values()} == set(SYSTEMS)


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_a_checkpoint_loads_into_its_own_network_and_computes_the_same(architecture, files):
    path, network = files[architecture]
    loaded = create_model(SMALLEST[architecture], weights=path)
    x = torch.randn(network.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, got = network(x), loaded(x)
    for a, b in zip(*(v if isinstance(v, tuple) else (v,) for v in (want, got)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("wanted", "given"), list(permutations(SYSTEMS, 2)))
def test_a_foreign_checkpoint_is_refused_by_name(wanted, given, files):
    path, _ = files[given]
    # Of a plain ViT its backbone is taken, as official training does; `deploy` refuses the rest.
    with pytest.raises((CheckpointError, PartlyUntrained)) as caught:
        create_model(SMALLEST[wanted], weights=path)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, PartlyUntrained):
        assert (wanted, given) == ("vitpose", "vit")
        return
    name = SMALLEST[given]
    assert caught.value.message.endswith(f"; it looks like a {name} checkpoint.")
    assert caught.value.next == f"edgevit export {name} --weights {path}"


def test_a_foreign_checkpoint_is_named_where_its_head_alone_would_be_refused(files):
    """UperNet's classifier reads 64 channels: no width that TopFormer's could read."""
    path, _ = files["vit_adapter"]
    with pytest.raises(
        CheckpointError, match="is not a topformer-t checkpoint; it looks like"
    ) as caught:
        create_model("topformer-t", weights=path)
    assert caught.value.next == f"edgevit export {SMALLEST['vit_adapter']} --weights {path}"


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_a_lost_a_stray_and_a_misshapen_key_are_named(architecture, files, tmp_path):
    _, network = files[architecture]
    state = network.state_dict()
    lost = [key for key in state if key.endswith(".weight")][len(state) // 4]
    cases = {
        lost: {key: value for key, value in state.items() if key != lost},
        "stray.weight": {**state, "stray.weight": torch.zeros(3)},
        f"{lost} ": {**state, lost: torch.zeros(3, 5, 7)},
    }
    for number, (key, tensors) in enumerate(cases.items()):
        path = tmp_path / f"{number}.pth"
        torch.save(tensors, path)
        with pytest.raises(CheckpointError) as caught:
            create_model(SMALLEST[architecture], weights=path)
        assert key.strip() in caught.value.message
        assert "\n" not in caught.value.message
        # The command that just failed would be no help.
        assert SMALLEST[architecture] not in str(caught.value.next)


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_a_truncated_file_is_refused(architecture, files, tmp_path):
    path, _ = files[architecture]
    content = path.read_bytes()
    for part in (0, 100, len(content) // 2, len(content) - 1):
        cut = tmp_path / "cut.pth"
        cut.write_bytes(content[:part])
        with pytest.raises(CheckpointError):
            create_model(SMALLEST[architecture], weights=cut)


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_values_that_are_not_finite_are_refused(architecture, files, tmp_path):
    _, network = files[architecture]
    state = dict(network.state_dict())
    key = next(k for k in reversed(list(state)) if state[k].is_floating_point())
    state[key] = torch.full_like(state[key], float("nan"))
    path = tmp_path / "nan.pth"
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="NaN or infinite"):
        create_model(SMALLEST[architecture], weights=path)


@pytest.mark.parametrize("architecture", SYSTEMS)
def test_an_unknown_option_is_refused_with_those_there_are(architecture):
    with pytest.raises(UsageError, match="no option 'nonsense'"):
        create_model(SMALLEST[architecture], nonsense=1)


@pytest.mark.parametrize("name", ["mvitv2-micro-video", "vit-micro"])
def test_a_size_of_the_wrong_count_is_refused(name):
    count = len(model_card(name).input_size)
    size = (8, 96, 96) if count == 2 else (96, 96)
    with pytest.raises(UsageError, match="two numbers" if count == 2 else "three numbers"):
        create_model(name, input_size=size)
