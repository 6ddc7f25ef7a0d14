"""Integers: how a system becomes int8, and the layers that stay float in more than one of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgevit_export.scheme import PRECISIONS, Observer

if TYPE_CHECKING:
    from torch import nn

    from edgevit.networks.parts.places import Place


@dataclass(frozen=True, slots=True)
class Float:
    """Layers that stay float in integer files: a pattern of module paths, as `fnmatch` reads them,
    which names what is inside of a module as well. It must fit every format's network, whose
    rewrites take layers apart.
    """

    pattern: str
    reason: str


@dataclass(frozen=True, slots=True)
class Integers:
    """How a system becomes int8.

    Residual additions, norms, softmax, GELU and products of attention stay float in every system:
    the export workshop makes integers of linear and convolution layers alone.
    """

    observer: Observer  # of inputs that are calibrated
    floats: tuple[Float, ...] = ()
    edits: tuple[str, ...] = ()  # of weights, by their names in edgevit/quantize/edits.py
    also: tuple[str, ...] = ()  # precisions beside static int8 that floats and edits serve
    # Of one module: places where a channel's scale is free, between layers and in values.
    layer_places: "Callable[[nn.Module], Iterator[Place]]" = lambda _: iter(())
    value_places: "Callable[[nn.Module], Iterator[Place]]" = lambda _: iter(())

    def serves(self, precision: str) -> bool:
        """Whether files of a precision have these layers float, and edited weights elsewhere."""
        return PRECISIONS[precision].activations == "static" or precision in self.also

    @property
    def patterns(self) -> tuple[str, ...]:
        """The module paths that stay float."""
        return tuple(entry.pattern for entry in self.floats)


# What lies beyond the calibration's pixels is clipped for the whole network, unless the layer that
# reads them is float: 1/f inputs cost a seeded vit-tiny-16 11 dB there (18.1 and 29.4), for 3 % of
# the products.
PATCHES = Float("*patch_embed*", "reads pixels: what calibration did not show is not clipped")
# Nothing behind it evens out what its roundings do: vit-micro gains 3 dB for 0.1 % of the products.
LAST = Float("head*", "its outputs are the answer")
