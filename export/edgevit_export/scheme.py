"""How a file's numbers are stored and computed: the schemes that `lower` takes."""

from dataclasses import dataclass

# The exporter writes no older ONNX operator set (asked for 13 it silently gives 18), and the
# runtime we ship against takes no newer one.
OPSETS = (18, 23)

# A module with a true attribute of this name is computed in float32 in files of any precision.
KEEPS_FP32 = "keeps_fp32"


@dataclass(frozen=True, slots=True)
class Scheme:
    """One precision, by the name it has everywhere in edgevit."""

    precision: str  # "fp32" or "fp16"
    opset: int = 18  # of .onnx files; the operators that hold those numbers


FP32 = Scheme("fp32")
FP16 = Scheme("fp16")
