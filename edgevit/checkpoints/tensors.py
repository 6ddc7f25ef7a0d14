"""Turns what a checkpoint describes into torch tensors, reading only the storages they need."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgevit.checkpoints.bounds import COPIES, MIB, Unreadable, shown
from edgevit.checkpoints.values import ITEM_BYTES, LazyStorage, LazyTensor, Leaf, PickledArray

if TYPE_CHECKING:
    import torch


def materialize(
    leaves: Mapping[str, Leaf], fetch: Callable[[str], bytearray], size: int
) -> dict[str, "torch.Tensor"]:
    """Tensors of the stated shapes and dtypes: CPU, contiguous, each with its own memory.

    fetch: a storage's bytes; called once a storage. size: of the file in bytes, which bounds what
    all tensors together may take. Raises `Unreadable`.
    """
    if sum(_bytes_of(leaf) for leaf in leaves.values()) > COPIES * size + MIB:
        raise Unreadable("describes tensors far larger than itself")
    uses = Counter(leaf.storage.key for leaf in leaves.values() if isinstance(leaf, LazyTensor))
    left = Counter(uses)
    shared: dict[str, torch.Tensor] = {}
    tensors = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, PickledArray):
            tensors[name] = _from_array(leaf)
            continue
        key = leaf.storage.key
        flat = shared.pop(key) if key in shared else _flat(name, leaf.storage, fetch(key))
        left[key] -= 1
        if left[key]:
            shared[key] = flat
        tensors[name] = _view(leaf, flat, own=uses[key] == 1)
    return tensors


def _bytes_of(leaf: Leaf) -> int:
    if isinstance(leaf, LazyTensor):
        return math.prod(leaf.shape) * ITEM_BYTES[leaf.storage.dtype]
    return len(leaf.data)


def _flat(name: str, storage: LazyStorage, data: bytearray) -> "torch.Tensor":
    """All elements of a storage."""
    import torch

    dtype: torch.dtype = getattr(torch, storage.dtype)  # a name of ITEM_BYTES
    if not data:
        return torch.empty(0, dtype=dtype)
    if dtype is torch.bool and not set(data) <= {0, 1}:
        raise Unreadable(f"holds something other than true and false in {shown(name)}")
    return torch.frombuffer(data, dtype=dtype)


def _view(leaf: LazyTensor, flat: "torch.Tensor", *, own: bool) -> "torch.Tensor":
    """A tensor of a storage; `own`: nothing else uses the storage, so it need not be copied."""
    import torch

    if not math.prod(leaf.shape):
        return torch.empty(leaf.shape, dtype=flat.dtype)
    tensor = flat.as_strided(leaf.shape, leaf.stride, leaf.storage.start + leaf.offset)
    if own and tensor.is_contiguous() and tensor.numel() == flat.numel():
        return tensor
    return tensor.clone(memory_format=torch.contiguous_format)


def _from_array(leaf: PickledArray) -> "torch.Tensor":
    import numpy as np
    import torch

    return torch.from_numpy(np.array(leaf.array(), order="C", copy=True))
