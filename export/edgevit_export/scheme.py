"""How a file's numbers are stored and computed: the schemes that `lower` takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

# The exporter writes no older ONNX operator set (asked for 13 it silently gives 18), and the
# runtime we ship against takes no newer one.
OPSETS = (18, 23)

# A module with a true attribute of this name is computed in float32 in files of any precision.
KEEPS_FP32 = "keeps_fp32"

Observer = Literal["mse", "percentile", "minmax"]
OBSERVERS: tuple[Observer, ...] = ("mse", "percentile", "minmax")


@dataclass(frozen=True, slots=True)
class Precision:
    """The types of weights and activations of a precision."""

    weight_bits: int
    activations: Literal["float", "static", "dynamic"]  # static: scales from calibration
    meaning: str


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision(32, "float", "32-bit floats throughout"),
        "fp16": Precision(16, "float", "16-bit floats, 32-bit where a network asks for it"),
        "w8a8": Precision(8, "static", "int8 products, scales from calibration pictures"),
        "mixed": Precision(8, "static", "as w8a8, with the most sensitive blocks in float"),
        "w8dyn": Precision(8, "dynamic", "int8 products, scales of activations at run time"),
        "w8": Precision(8, "float", "int8 weights, float products: for size"),
        "w4": Precision(4, "float", "4-bit weights in groups: for size"),
        "p6": Precision(6, "float", "weights of 64 values a tensor (Core ML palettes)"),
        "p4": Precision(4, "float", "weights of 16 values a tensor (Core ML palettes)"),
    }
)


@dataclass(frozen=True, slots=True)
class Scheme:
    """One precision, by the name it has everywhere in edgevit, and what it is made with."""

    precision: str  # of PRECISIONS
    opset: int = 18  # of .onnx files; the operators that hold those numbers
    floats: tuple[str, ...] = ()  # patterns (fnmatch) of module paths that stay float
    observer: Observer = "mse"  # how a static range is read from the calibration

    @property
    def calibrated(self) -> bool:
        """Whether samples are needed."""
        return PRECISIONS[self.precision].activations == "static"


FP32 = Scheme("fp32")
