"""Which layers read which LayerNorm: the modules that hold norms say it, before and after their
attention is rewritten.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Reader = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


class ScaledNorm(nn.LayerNorm):
    """A LayerNorm whose scale and shift were chosen for the integers that its readers see: passes
    leave both where they are.
    """


@dataclass(frozen=True, slots=True)
class Reading:
    """What reads a norm, which is named by its path in the module that says so.

    `shifts`: a constant a channel may move from the norm into its readers' biases. Where a reader
    is padded or a ReLU lies between, only a positive factor may. No readers: they are not known.
    """

    norm: str
    readers: Sequence[Reader]
    shifts: bool = True


@runtime_checkable
class HoldsNorms(Protocol):
    """A module that knows who reads its norms."""

    def norm_readings(self) -> Iterator[Reading]:
        """One for each norm."""


@runtime_checkable
class ReadsTokens(Protocol):
    """An attention that knows which of its layers read the tokens that enter it."""

    def token_readers(self) -> list[Reader]:
        """All of them, or none where they are not known."""


@dataclass(frozen=True, slots=True)
class NormReaders:
    """A norm by its holder and path there, and all that reads it."""

    holder: nn.Module
    name: str
    norm: nn.LayerNorm
    readers: tuple[Reader, ...]
    shifts: bool = True


def norm_readers(model: nn.Module) -> list[NormReaders]:
    """Every LayerNorm with scale and shift whose readers are all known and take any scale."""
    found = []
    for holder in model.modules():
        for reading in holder.norm_readings() if isinstance(holder, HoldsNorms) else ():
            norm = holder.get_submodule(reading.norm)
            if isinstance(norm, nn.LayerNorm) and norm.elementwise_affine and reading.readers:
                readers = tuple(reading.readers)
                found.append(NormReaders(holder, reading.norm, norm, readers, reading.shifts))
    return found


def token_readers(attention: nn.Module) -> list[Reader]:
    """The layers that read what enters an attention, whatever it is wrapped in; none where they are
    not known.
    """
    found: list[Reader] = []
    for module in attention.modules():
        if isinstance(module, ReadsTokens):
            found += module.token_readers()
    return found


def linear_layers(module: nn.Module) -> list[Reader]:
    """Every linear layer of a module."""
    return [m for m in module.modules() if isinstance(m, nn.Linear)]


@torch.no_grad()
def read_scaled(reader: Reader, factor: Tensor, shift: Tensor | None = None) -> None:
    """Have a layer read factor * x + shift instead of x, in place.

    W (f * x + t) + b = (W * f) x + (b + W t), a factor an input channel. A linear layer over
    several tokens side by side repeats both. A shift takes a layer without padding.
    """
    weight = reader.weight
    if isinstance(reader, nn.Linear):
        times = reader.in_features // factor.numel()
        by_input = factor.repeat(times)
        moved = None if shift is None else weight @ shift.repeat(times)
    elif isinstance(reader, nn.ConvTranspose2d):
        assert shift is None
        by_input, moved = factor.reshape(-1, 1, 1, 1), None
    elif reader.groups == reader.in_channels and reader.groups > 1:
        assert shift is None
        by_input, moved = (
            factor.repeat_interleave(reader.out_channels // reader.groups).reshape(-1, 1, 1, 1),
            None,
        )
    else:
        assert reader.groups == 1
        by_input = factor.reshape(1, -1, 1, 1)
        moved = None if shift is None else weight.sum(dim=(2, 3)) @ shift
    if moved is not None:
        reader.bias = nn.Parameter(moved if reader.bias is None else moved + reader.bias)
    weight.mul_(by_input)
