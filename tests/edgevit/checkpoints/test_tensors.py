"""What is read of storages, how often, and how long it is held."""

import weakref

import pytest
import torch

from edgevit.checkpoints.bounds import MIB, Unreadable
from edgevit.checkpoints.tensors import materialize
from edgevit.checkpoints.values import LazyStorage, LazyTensor


class Bytes(bytearray):
    """Bytes that may be watched."""


def leaf(key: str, shape: tuple[int, ...], numel: int = 4, dtype: str = "float32") -> LazyTensor:
    return LazyTensor(LazyStorage(key, dtype, 0, numel, numel), 0, shape, (1,) * len(shape))


def test_each_storage_is_fetched_once_and_let_go_after_its_last_use() -> None:
    held: list[weakref.ref[Bytes]] = []

    def fetch(key: str) -> bytearray:
        assert not any(reference() for reference in held[:-1])  # the last may be held till the next
        data = Bytes(16)
        data[::4] = b"abcd"
        held.append(weakref.ref(data))
        return data

    leaves = {"a": leaf("0", (4,)), "b": leaf("0", (2,)), "c": leaf("1", (3,)), "d": leaf("2", ())}
    found = materialize(leaves, fetch, 100)
    assert len(held) == 3
    assert [tensor.view(torch.int32).flatten().tolist() for tensor in found.values()] == [
        [97, 98, 99, 100], [97, 98], [97, 98, 99], [97],
    ]  # fmt: skip


def test_a_storage_that_is_one_tensor_is_not_copied() -> None:
    data = bytearray(16)
    (tensor,) = materialize({"w": leaf("0", (4,))}, lambda _: data, 100).values()
    data[:4] = torch.tensor([2.5]).numpy().tobytes()
    assert tensor.tolist() == [2.5, 0, 0, 0]


def test_what_tensors_may_take_counts_bytes() -> None:
    """Each 16 bytes an element, of a storage that is used twice."""
    half = (4 * 100 + MIB) // 32
    for more, fine in ((0, True), (1, False)):
        shape = (half + more,)
        leaves = {name: leaf("0", shape, half + 1, "complex128") for name in "ab"}
        if fine:
            found = materialize(leaves, lambda _: bytearray(16 * half + 16), 100)
            assert [tuple(tensor.shape) for tensor in found.values()] == [shape, shape]
        else:
            with pytest.raises(Unreadable, match="far larger than itself"):
                materialize(leaves, bytearray, 100)


def test_nothing_is_left_of_an_empty_storage() -> None:
    (tensor,) = materialize({"w": leaf("0", (0, 3), 0, "int8")}, lambda _: bytearray(), 1).values()
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.int8, (0, 3))
