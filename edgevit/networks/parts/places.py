"""Where a channel's scale is free: what makes a channel, and everything that reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from edgevit.networks.parts.layers import ConvBN, ConvModule
from edgevit.networks.parts.norm_readers import Reader

Maker = Reader | nn.LayerNorm


@dataclass(frozen=True, slots=True)
class Part:
    """Channels of a layer's output (as a maker) or input (as a reader): `count` from `start` on;
    None: all of them.
    """

    layer: Maker
    start: int = 0
    count: int | None = None

    @property
    def channels(self) -> slice:
        """As a slice of the layer's channels."""
        return slice(self.start, None if self.count is None else self.start + self.count)


@dataclass(frozen=True, slots=True)
class Place:
    """The channels of `makers`, added or passed on by what commutes with a positive factor a
    channel (ReLU, pools, resizes, mixing of tokens), are read by `readers` and nothing else.

    `shifts`: a constant a channel passes too, up to the readers' biases.
    """

    makers: tuple[Part, ...]
    readers: tuple[Part, ...]
    shifts: bool = False


def chain(sequence: nn.Sequential) -> Iterator[Place]:
    """Neighbors in a Sequential with nothing but ReLU and identities between them."""
    layers = [m for m in sequence if not isinstance(m, nn.ReLU | nn.Identity | nn.MaxPool2d)]
    for maker, reader in pairwise(layers):
        yield from joined([maker], [reader])


def joined(makers: list[nn.Module], readers: list[nn.Module]) -> list[Place]:
    """One place of all these, or none where one of them is no plain layer."""
    made, read = [layer_of(m) for m in makers], [layer_of(m) for m in readers]
    if not (made and read) or None in made or None in read:
        return []
    return [
        Place(
            tuple(Part(m) for m in made if m is not None),
            tuple(Part(r) for r in read if r is not None),
        )
    ]


def layer_of(module: nn.Module) -> Reader | None:
    """The layer itself or the convolution of a holder whose norm is folded; else None."""
    match module:
        case ConvBN(bn=nn.Identity()):
            return module.c
        case ConvModule(bn=nn.Identity()):
            conv = module.conv
            return conv if isinstance(conv, nn.Conv2d) else None
        case nn.Linear() | nn.Conv2d() | nn.ConvTranspose2d():
            return module
        case _:
            return None
