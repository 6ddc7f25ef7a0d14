"""What each runtime wants of integers in a graph. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Style:
    """What one format's runtime wants of the integers."""

    unsigned: bool  # activations 0..255 instead of -128..127
    linear_outputs: bool  # whether the outputs of linear layers are integers too
    fold: bool  # store integers for weights; else float weights with a quantize step behind
    joined: bool = False  # outputs that meet in a concatenation share one scale


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        # ONNX Runtime's x86 kernels take unsigned activations twice as fast; a linear layer's bias
        # is added in float behind its product, and there is no reason to round in between.
        "onnx": Style(unsigned=True, linear_outputs=False, fold=True),
        # XNNPACK leaves a layer without integer output outside of the delegate.
        "executorch": Style(unsigned=False, linear_outputs=True, fold=True),
        # LiteRT's converter folds the quantize step behind float weights itself. It concatenates
        # integers as they are, all on the last one's scale, which cuts off the ends of the others.
        "litert": Style(unsigned=False, linear_outputs=True, fold=False, joined=True),
        # Core ML's own quantizer puts steps on both sides of a layer, too.
        "coreml": Style(unsigned=False, linear_outputs=True, fold=True),
    }
)
