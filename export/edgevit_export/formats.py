"""The four file formats, and the one lazy door to the code that writes and reads each."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType, ModuleType

from edgevit_export.errors import MissingPackage, Unsupported


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its file suffix, what it can hold, and the packages that write it."""

    name: str
    suffix: str
    extra: str  # the extra of edgevit that brings `packages`
    packages: tuple[str, ...]
    precisions: tuple[str, ...]
    max_bytes: int
    aliases: tuple[str, ...] = ()


GIB = 1 << 30

FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "onnx": Format(
            name="onnx",
            suffix=".onnx",
            extra="onnx",
            packages=(
                "torch",
                "torchao",
                "onnx",
                "onnx-ir",
                "onnxruntime",
                "onnxscript",
                "onnxsim",
            ),
            precisions=("fp32", "fp16", "w8a8", "mixed", "w8dyn", "w8", "w4"),
            max_bytes=2 * GIB,  # protobuf's limit for one file
        ),
        "executorch": Format(
            name="executorch",
            suffix=".pte",
            extra="executorch",
            packages=("torch", "executorch", "torchao"),
            precisions=("fp32", "fp16", "w8a8", "mixed", "w8dyn", "w4"),
            max_bytes=2 * GIB,  # flatbuffers' limit
        ),
        "litert": Format(
            name="litert",
            suffix=".tflite",
            extra="litert",
            packages=(
                "torch",
                "litert-torch",
                "ai-edge-litert",
                "ai-edge-quantizer",
                "torchao",
                "flatbuffers",
            ),
            precisions=("fp32", "fp16", "w8a8", "mixed", "w8dyn", "w8", "w4"),
            max_bytes=2 * GIB,  # flatbuffers' limit
            aliases=("tflite",),
        ),
        "coreml": Format(
            name="coreml",
            suffix=".mlpackage",
            extra="coreml",
            packages=("torch", "torchao", "coremltools"),
            precisions=("fp16", "fp32", "w8a8", "mixed", "w8", "w4", "p6", "p4"),
            max_bytes=2 * GIB,  # the program is a protobuf; weights lie beside it
        ),
    }
)

# Why a format has no files of a precision, where a user would look for them.
ABSENT: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("coreml", "w8dyn"): "Core ML has no products with scales found at run time",
        (
            "executorch",
            "w8",
        ): "XNNPACK takes no int8 weights with float inputs, and ExecuTorch has no"
        " kernel that makes them float; w8dyn has the same size",
        **{
            (name, palette): "palettes are Core ML's; w4 is near in size"
            for name in ("onnx", "executorch", "litert")
            for palette in ("p6", "p4")
        },
    }
)


def why_absent(entry: Format, precision: str) -> str:
    """The reason that a format has no such files; raises `KeyError` where it has."""
    if precision in entry.precisions:
        raise KeyError(precision)
    return ABSENT[entry.name, precision]


def most_bits(entry: Format, precision: str) -> int:
    """Bits a number of the largest thing on the way to a file: quantized files are made from
    float32 ones, which their format must hold first.
    """
    return 16 if entry.name == "coreml" and precision == "fp16" else 32


def format_named(name: str) -> Format:
    """The format of this name or alias; raises `Unsupported` that lists what exists."""
    for entry in FORMATS.values():
        if name == entry.name or name in entry.aliases:
            return entry
    raise Unsupported(f"There is no format {name!r}; there are {', '.join(FORMATS)}.")


def tool_versions(entry: Format) -> dict[str, str]:
    """Installed version of each package of a format; raises `MissingPackage`."""
    versions = {}
    for package in entry.packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            raise MissingPackage(
                f"Writing {entry.suffix} files needs {package}, which is not installed.",
                next=f"pip install 'edgevit[{entry.extra}]'",
            ) from None
    return versions


def backend(entry: Format) -> ModuleType:
    """The module that writes it: `write(model, example, names, scheme, path) -> Contents`."""
    match entry.name:
        case "onnx":
            from edgevit_export.backends import onnx

            return onnx
        case "executorch":
            from edgevit_export.backends import executorch

            return executorch
        case "litert":
            from edgevit_export.backends import litert

            return litert
        case "coreml":
            from edgevit_export.backends import coreml

            return coreml
        case _:
            raise Unsupported(f"There is no backend for {entry.name!r}.")


def reader(entry: Format) -> ModuleType:
    """The module that says what is in a file of this format: `read(path) -> FileReport`."""
    match entry.name:
        case "onnx":
            from edgevit_export.readers import onnx

            return onnx
        case "executorch":
            from edgevit_export.readers import executorch

            return executorch
        case "litert":
            from edgevit_export.readers import litert

            return litert
        case "coreml":
            from edgevit_export.readers import coreml

            return coreml
        case _:
            raise Unsupported(f"There is no reader for {entry.name!r}.")
