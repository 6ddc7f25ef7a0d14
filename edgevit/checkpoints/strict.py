"""Loads tensors into a network where every key and shape agrees, and says where they do not."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgevit.checkpoints.bounds import listed, shown
from edgevit.errors import CheckpointError

if TYPE_CHECKING:
    import torch

COUNTER = "num_batches_tracked"  # of BatchNorm in training; files older than torch 0.4.1 lack it

Likely = Callable[[Mapping[str, tuple[int, ...]]], str | None]


@dataclass(frozen=True, slots=True)
class WrongShape:
    """A key that both sides have with different shapes."""

    key: str
    found: tuple[int, ...]  # in the file
    wanted: tuple[int, ...]  # in the network

    def __str__(self) -> str:
        found, wanted = _sizes(self.found), _sizes(self.wanted)
        return f"{shown(self.key)} ({found} in the file, {wanted} in the network)"


class CheckpointMismatch(CheckpointError):
    """A checkpoint whose keys or shapes are not the network's, with the full lists."""

    def __init__(
        self,
        message: str,
        *,
        missing: tuple[str, ...],
        unexpected: tuple[str, ...],
        mismatched: tuple[WrongShape, ...],
        next: str | None = None,  # noqa: A002 - the user-facing word
    ) -> None:
        super().__init__(message, next=next)
        self.missing = missing
        self.unexpected = unexpected
        self.mismatched = mismatched


def load_strict(
    model: "torch.nn.Module",
    tensors: Mapping[str, "torch.Tensor"],
    *,
    source: str,
    likely: Likely | None = None,
    ignore: tuple[str, ...] = (),
) -> None:
    """Copy `tensors` into parameters and buffers of `model`, or raise and leave it as it was.

    source: the file's name or path, for messages. likely: names the model that the shapes of a file
    belong to. ignore: prefixes of keys in the file that this network has no use for. A missing
    `num_batches_tracked` is no difference. Floats are cast to the parameter's dtype.

    Raises `CheckpointMismatch` on missing, unexpected or wrongly shaped keys, `CheckpointError` on
    values that are not finite or not of the network's kind of number.
    """
    wanted = model.state_dict()
    given = {
        k: _as_number(t, wanted.get(k))
        for k, t in tensors.items()
        if k in wanted or not k.startswith(ignore)
    }
    missing = tuple(k for k in wanted if k not in given and k.rpartition(".")[2] != COUNTER)
    unexpected = tuple(key for key in given if key not in wanted)
    mismatched = tuple(
        WrongShape(key, tuple(given[key].shape), tuple(tensor.shape))
        for key, tensor in wanted.items()
        if key in given and given[key].shape != tensor.shape
    )
    if missing or unexpected or mismatched:
        name = (
            likely({key: tuple(tensor.shape) for key, tensor in tensors.items()})
            if likely
            else None
        )
        raise CheckpointMismatch(
            _sentence(source, missing, unexpected, mismatched, name),
            missing=missing,
            unexpected=unexpected,
            mismatched=mismatched,
            next=f"edgevit export {name} --weights {shlex.quote(source)}"
            if name
            else "edgevit list",
        )
    ready = {
        key: _fitted(source, key, given[key], tensor)
        for key, tensor in wanted.items()
        if key in given
    }
    model.load_state_dict({**wanted, **ready}, strict=True, assign=False)


def _as_number(found: "torch.Tensor", wanted: "torch.Tensor | None") -> "torch.Tensor":
    """A list of one where the network has a number, as torch's own loader takes it: files from
    before torch 0.4 and through numpy's `ascontiguousarray` hold counters that way.
    """
    one = wanted is not None and not wanted.ndim and found.shape == (1,)
    return found.reshape(()) if one else found


def _fitted(source: str, key: str, found: "torch.Tensor", wanted: "torch.Tensor") -> "torch.Tensor":
    """A tensor in the network's dtype; raises `CheckpointError` where that changes its values."""
    import torch

    name = f"{shown(source)} holds"
    if _kind(found) != _kind(wanted):
        raise CheckpointError(
            f"{name} {_dtype(found)} values for {shown(key)}, "
            f"which is {_dtype(wanted)} in the network.",
            next="edgevit list",
        )
    ready = found.to(wanted.dtype)
    if found.is_floating_point() and not torch.isfinite(ready).all():
        fault = "NaN or infinite values"
        if found.dtype != ready.dtype and torch.isfinite(found.double()).all():
            fault = f"values larger than {_dtype(ready)} can hold"
        raise CheckpointError(f"{name} {fault} in {shown(key)}.", next="edgevit list")
    if _kind(found) == "integer" and not torch.equal(ready.to(found.dtype), found):
        raise CheckpointError(
            f"{name} values larger than {_dtype(ready)} can hold in {shown(key)}."
        )
    return ready


def _kind(tensor: "torch.Tensor") -> str:
    if tensor.is_floating_point():
        return "float"
    return (
        str(tensor.dtype) if tensor.is_complex() or str(tensor.dtype) == "torch.bool" else "integer"
    )


def _dtype(tensor: "torch.Tensor") -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "one number"


def _sentence(
    source: str,
    missing: tuple[str, ...],
    unexpected: tuple[str, ...],
    mismatched: tuple[WrongShape, ...],
    name: str | None,
) -> str:
    """One sentence: how many keys differ in each way, and the first five of each."""
    ways = (
        ("missing", missing),
        ("unexpected", unexpected),
        ("wrongly shaped", tuple(map(str, mismatched))),
    )
    parts = [
        f"{len(keys)} {way} {'key' if len(keys) == 1 else 'keys'} ({listed(list(keys), width=200)})"
        for way, keys in ways
        if keys
    ]
    looks = f"; it looks like a {name} checkpoint" if name else ""
    return f"{shown(source)} does not fit the network: {', '.join(parts)}{looks}."
