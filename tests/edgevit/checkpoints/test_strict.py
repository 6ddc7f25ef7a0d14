"""Strict loading: everything agrees, or one sentence and an untouched network."""

import pytest
import torch
from torch import nn

from edgevit.checkpoints import CheckpointMismatch, WrongShape, load_strict
from edgevit.errors import CheckpointError


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


def other() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)).state_dict()
    return {**made, "1.num_batches_tracked": torch.tensor(5)}


def unchanged(model: nn.Module) -> bool:
    return all(
        torch.equal(a, b) for a, b in zip(model.parameters(), network().parameters(), strict=True)
    )


def test_loads_and_casts():
    model, tensors = network(), other()
    parameter = model[0].weight
    load_strict(
        model, {k: t.half() if t.is_floating_point() else t for k, t in tensors.items()}, source="x"
    )
    assert model[0].weight is parameter
    assert parameter.dtype == torch.float32
    assert torch.equal(parameter, tensors["0.weight"].half().float())
    assert model[1].num_batches_tracked == 5


def test_a_missing_counter_is_no_difference():
    model, tensors = network(), other()
    del tensors["1.num_batches_tracked"]
    load_strict(model, tensors, source="x")
    assert torch.equal(model[2].weight, tensors["2.weight"])
    assert model[1].num_batches_tracked == 0


def test_a_counter_kept_as_a_list_of_one_is_the_number():
    model, tensors = network(), other()
    tensors["1.num_batches_tracked"] = torch.tensor([7])
    load_strict(model, tensors, source="x")
    assert model[1].num_batches_tracked == 7


def test_mismatch_is_one_sentence_with_full_lists():
    model, tensors = network(), other()
    del tensors["0.bias"], tensors["1.weight"]
    tensors["2.weight"] = torch.ones(3, 4)
    tensors.update({f"extra.{i}": torch.ones(1) for i in range(7)})
    seen = {}

    def likely(shapes):
        seen.update(shapes)
        return "topformer-s"

    with pytest.raises(CheckpointMismatch) as caught:
        load_strict(model, tensors, source="my x.pth", likely=likely)
    error = caught.value
    assert error.message == (
        "my x.pth does not fit the network: 2 missing keys (0.bias and 1.weight), "
        "7 unexpected keys (extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more), "
        "1 wrongly shaped key (2.weight (3x4 in the file, 2x4 in the network)); "
        "it looks like a topformer-s checkpoint."
    )
    assert error.next == "edgevit export topformer-s --weights 'my x.pth'"
    assert error.missing == ("0.bias", "1.weight")
    assert error.unexpected == tuple(f"extra.{i}" for i in range(7))
    assert error.mismatched == (WrongShape("2.weight", (3, 4), (2, 4)),)
    assert seen["2.weight"] == (3, 4)
    assert isinstance(error, CheckpointError)
    assert error.exit_code == 2
    assert unchanged(model)


def test_without_a_likely_model():
    with pytest.raises(CheckpointMismatch) as caught:
        load_strict(network(), {}, source="x.pth", likely=lambda shapes: None)
    assert "looks like" not in caught.value.message
    assert caught.value.message.startswith(
        "x.pth does not fit the network: 8 missing keys (0.weight, "
    )
    assert caught.value.next == "edgevit list"


def test_ignored_prefixes_are_for_keys_that_the_network_lacks():
    model, tensors = network(), other()
    tensors["aux_head.w"] = torch.full((1,), float("nan"))
    with pytest.raises(CheckpointMismatch):
        load_strict(model, tensors, source="x")
    load_strict(model, tensors, source="x", ignore=("aux_head.", "2."))
    assert torch.equal(model[2].weight, tensors["2.weight"])


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("0.weight", torch.full((4, 3, 1, 1), float("nan")), "NaN or infinite values in 0.weight"),
        ("0.weight", torch.full((4, 3, 1, 1), float("inf")), "NaN or infinite values in 0.weight"),
        (
            "1.running_var",
            torch.full((4,), 1e300, dtype=torch.float64),
            "larger than float32 can hold in 1.running",
        ),
        ("0.weight", torch.ones(4, 3, 1, 1, dtype=torch.int8), "int8 values for 0.weight"),
        ("0.weight", torch.ones(4, 3, 1, 1, dtype=torch.bool), "bool values for 0.weight"),
        (
            "0.weight",
            torch.ones(4, 3, 1, 1, dtype=torch.complex64),
            "complex64 values for 0.weight",
        ),
        ("1.num_batches_tracked", torch.tensor(5.0), "float32 values for 1.num_batches_tracked"),
    ],
)
def test_values_that_do_not_fit(key, value, wanted):
    model = network()
    with pytest.raises(CheckpointError) as caught:
        load_strict(model, {**other(), key: value}, source="x.pth")
    assert wanted in caught.value.message
    assert caught.value.message.startswith("x.pth holds ")
    assert unchanged(model)


def test_integers_are_widened_and_never_wrapped():
    model = nn.Module()
    model.register_buffer("table", torch.zeros(2, dtype=torch.int32))
    load_strict(model, {"table": torch.tensor([1, 2])}, source="x")
    assert model.table.tolist() == [1, 2]
    with pytest.raises(CheckpointError, match="larger than int32 can hold in table"):
        load_strict(model, {"table": torch.tensor([1, 1 << 40])}, source="x")
