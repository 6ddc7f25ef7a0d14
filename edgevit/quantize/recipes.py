"""Recipes per architecture: which layers stay float in int8 files, and why.

Residual additions, norms, softmax, GELU and products of attention stay float in every recipe: the
export workshop makes integers of linear and convolution layers alone. What is listed here is more.
A pattern is of module paths, as `fnmatch` reads them, and names what is inside of a module as well.
It must fit every format's network, whose rewrites take layers apart: see `test_recipes.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit_export.scheme import PRECISIONS, Observer


@dataclass(frozen=True, slots=True)
class Float:
    """Layers that stay float."""

    pattern: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one architecture becomes int8."""

    observer: Observer  # of inputs that are calibrated
    floats: tuple[Float, ...] = ()
    also: tuple[str, ...] = ()  # precisions beside static int8 that this and edits of weights serve

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
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "topformer": Recipe("mse"),
        "vit": Recipe("mse", (PATCHES, LAST)),
        "vitpose": Recipe("mse", (PATCHES,)),
        "t2t_vit": Recipe("mse", (LAST,)),
        "mvitv2": Recipe(
            "mse",
            (
                PATCHES,
                LAST,
                # 24.5 to 25.4 dB of a seeded mvitv2-s-video in torch, for 1 to 4 % of mvitv2-t's
                # time and 5 to 7 % of the micro one's (on a machine that was not idle).
                Float("*.pool*", "depthwise: few products, and a map's ends are cut off"),
                Float(
                    "*blocks.*proj",
                    "residual pooling adds queries to what it reads, and makes few large values:"
                    " 25.4 to 28.6 dB of the same network for a tenth of the products",
                ),
            ),
            # 30.4 to 32.5 dB of the same, edited in both, in torch with ONNX Runtime's one scale a
            # tensor.
            also=("w8dyn",),
        ),
        "vit_adapter": Recipe(
            "mse",
            (
                PATCHES,
                Float(
                    "*spm.stem.0",
                    "reads pixels as well: 6 dB on 1/f inputs (21.4 to 27.9) for 0.7 % of the"
                    " micro one's products",
                ),
                Float(
                    "*.sampling_offsets*",
                    "an eighth of a step of an int8 offset is a whole pixel in a map of 64",
                ),
                Float("*.attention_weights*", "a softmax over few points follows"),
            ),
        ),
    }
)
