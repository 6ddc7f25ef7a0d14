"""How a file's numbers are stored and computed: the schemes that `lower` takes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scheme:
    """One precision, by the name it has everywhere in edgevit."""

    precision: str  # "fp32" or "fp16"
    opset: int = 18  # of .onnx files; the operators that hold those numbers


FP32 = Scheme("fp32")
FP16 = Scheme("fp16")
