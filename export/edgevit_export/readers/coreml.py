"""What an .mlpackage holds: the ML program's operations, inputs, outputs and bytes of weights.

Fields are read by their numbers in coremltools 9.0's mlmodel/format/Model.proto,
FeatureTypes.proto and MIL.proto.
"""

from collections.abc import Mapping
from pathlib import Path

from edgevit_export.artifact import TensorSpec
from edgevit_export.readers.package import Blobs, open_package
from edgevit_export.readers.protobuf import Budget, Message
from edgevit_export.readers.report import FileReport
from edgevit_export.readers.source import (
    MalformedError,
    add,
    most_frequent_first,
    opened,
    printable,
)

KIND = "a Core ML model"
MAX_BYTES = 2 << 30  # protobuf's limit for one file; the weights lie beside it
MAX_METADATA = 32  # entries that come into a report

# ArrayFeatureType.ArrayDataType and ImageFeatureType.ColorSpace of FeatureTypes.proto.
ARRAY_TYPES = {
    65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16",
}  # fmt: skip
CHANNELS = {10: (1, "uint8"), 20: (3, "uint8"), 30: (3, "uint8"), 40: (1, "float16")}
SCALARS = {1: "int64", 2: "float64", 3: "string"}  # of FeatureType, as the next two
IMAGE, MULTI_ARRAY = 4, 5


def read(path: Path) -> FileReport:
    """The contents of an .mlpackage; a picture input is shown as (height, width, channels).

    Constants are no operations: they are counted in `facts`. Raises `UnreadableFile`, also for a
    package with a symbolic link, a path out of itself, or a model that is no ML program.
    """
    package = open_package(path)
    with opened(package.model, KIND, MAX_BYTES) as data:
        model = Message(data, (0, len(data)), Budget())
        return _report(model, package.size, Blobs(package))


def _report(model: Message, size: int, blobs: Blobs) -> FileReport:
    program, description = model.message(502), model.message(2)
    version = model.integer(1)
    if version < 1 or description is None:
        raise MalformedError("it has no specification version or no description")
    if program is None:
        raise MalformedError(
            "it has no ML program, the only kind of Core ML model that edgevit reads"
        )
    ops: dict[str, int] = {}
    opsets = set[str]()
    rank = 0
    for _, function in program.entries(2):
        opsets.add(function.text(2))
        pending = [block for _, block in function.entries(3)]
        while pending:
            for operation in pending.pop().messages(3):
                add(ops, printable(operation.text(1)))
                rank = max(rank, _rank(operation))
                pending.extend(operation.messages(4))
                _collect_blobs(operation, blobs)
    if not ops:
        raise MalformedError("its program has no operation")
    facts: dict[str, str | int] = {
        "spec version": version,
        "opset": ", ".join(sorted(printable(opset) for opset in opsets)),
        "constants": ops.pop("const", 0),
        "highest rank": rank,
    }
    facts.update(_metadata(description))
    inputs, outputs = _features(description)
    return FileReport(
        format="coreml",
        size=size,
        weight_bytes=blobs.weight_bytes(),
        inputs=inputs,
        outputs=outputs,
        ops=most_frequent_first(ops),
        facts=facts,
    )


def _rank(operation: Message) -> int:
    """The most dimensions that an output of an operation has."""
    kinds = (output.message(2) for output in operation.messages(3))
    tensors = (kind.message(1) for kind in kinds if kind is not None)
    return max((tensor.integer(2) for tensor in tensors if tensor is not None), default=0)


def _collect_blobs(operation: Message, blobs: Blobs) -> None:
    """References to weight files among an operation's attributes and its inputs' inline values."""
    values = [value for _, value in operation.entries(5)]
    for _, argument in operation.entries(2):
        bindings = (binding.message(2) for binding in argument.messages(1))
        values.extend(value for value in bindings if value is not None)
    for value in values:
        blob = value.message(5)
        if blob is not None:
            blobs.collect(blob.text(1), blob.integer(2))


def _features(description: Message) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs; of the default function where a model has several."""
    default = description.text(21)
    for function in description.messages(20):
        if function.text(1) == default:
            return _specs(function, 2), _specs(function, 3)
    return _specs(description, 1), _specs(description, 10)


def _specs(holder: Message, field: int) -> tuple[TensorSpec, ...]:
    return tuple(_spec(feature) for feature in holder.messages(field))


def _spec(feature: Message) -> TensorSpec:
    name, kind = printable(feature.text(1)), feature.message(3)
    if kind is None:
        raise MalformedError(f"{name!r} has no type")
    array, picture = kind.message(MULTI_ARRAY), kind.message(IMAGE)
    if array is not None:
        dtype = ARRAY_TYPES.get(array.integer(2))
        if dtype is None:
            raise MalformedError(f"{name!r} has the unknown data type {array.integer(2)}")
        return TensorSpec(name=name, shape=array.integers(1), dtype=dtype)
    if picture is not None:
        channels = CHANNELS.get(picture.integer(3))
        if channels is None:
            raise MalformedError(f"{name!r} has the unknown color space {picture.integer(3)}")
        shape = picture.integer(2), picture.integer(1), channels[0]
        return TensorSpec(name=name, shape=shape, dtype=channels[1], layout="any")
    scalar = next((word for number, word in SCALARS.items() if kind.has(number)), "other")
    return TensorSpec(name=name, shape=(), dtype=scalar)


def _metadata(description: Message) -> Mapping[str, str]:
    metadata = description.message(100)
    if metadata is None:
        return {}
    entries = list(metadata.messages(100))[:MAX_METADATA]
    return {f"metadata {printable(entry.text(1))}": printable(entry.text(2)) for entry in entries}
