"""What an .onnx file holds: operations, opset, inputs, outputs and the bytes of its weights."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import MissingPackage, UnreadableFile
from edgevit_export.readers.report import FileReport
from edgevit_export.readers.source import (
    MalformedError,
    add,
    most_frequent_first,
    opened,
    packed_bytes,
    printable,
)

KIND = "an ONNX model"
MAX_BYTES = 2 << 30  # protobuf's limit for one file
MAX_METADATA = 32  # entries that come into a report
MERGE = "import onnx, sys; onnx.save(onnx.load(sys.argv[1]), sys.argv[2])"
DYNAMIC = -1  # stands for a size that is no number in the file

# Bits an element, by TensorProto.DataType (onnx/onnx.proto).
BITS = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64,
    "BOOL": 8, "FLOAT16": 16, "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64,
    "COMPLEX128": 128, "BFLOAT16": 16, "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8,
    "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "FLOAT8E8M0": 8, "UINT2": 2,
    "INT2": 2,
}  # fmt: skip
NUMPY_NAMES = {"FLOAT": "float32", "DOUBLE": "float64"}  # the others are numpy's own, lower case


def read(path: Path) -> FileReport:
    """The contents of an .onnx file; a size that is not fixed is shown as -1.

    Raises `UnreadableFile`, also where weights lie in another file, and `MissingPackage` where
    onnx is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    except ImportError:
        raise MissingPackage(
            "Reading .onnx files needs onnx, which is not installed.",
            next="pip install 'edgevit[onnx]'",
        ) from None

    with opened(path, KIND, MAX_BYTES) as data:
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data[:])
        except DecodeError:
            raise MalformedError("it is no whole protobuf message") from None
        return _report(path, len(data), model)


def _report(path: Path, size: int, model: Any) -> FileReport:
    # Any bytes may parse as a protobuf of unknown fields, and none at all as an empty one.
    if not (model.ir_version > 0 and model.HasField("graph") and model.opset_import):
        raise MalformedError("it has no ir version, opset or graph")
    ops: dict[str, int] = {}
    weights = 0
    for item in _walk(model):
        if item.DESCRIPTOR.name == "NodeProto":
            domain = "" if item.domain in ("", "ai.onnx") else f"{item.domain}::"
            add(ops, domain + _text(item.op_type))
        else:
            weights += _tensor_bytes(path, item)
    graph = model.graph
    given = {tensor.name for tensor in graph.initializer}  # older files list weights as inputs, too
    facts: dict[str, str | int] = {"ir version": model.ir_version}
    for opset in model.opset_import:
        facts[f"opset {_text(opset.domain) or 'ai.onnx'}"] = opset.version
    if model.producer_name:
        facts["producer"] = f"{_text(model.producer_name)} {_text(model.producer_version)}".strip()
    if model.functions:
        facts["local functions"] = len(model.functions)
    for entry in model.metadata_props[:MAX_METADATA]:
        facts[f"metadata {_text(entry.key)}"] = _text(entry.value)
    return FileReport(
        format="onnx",
        size=size,
        weight_bytes=weights,
        inputs=tuple(_spec(value) for value in graph.input if value.name not in given),
        outputs=tuple(_spec(value) for value in graph.output),
        ops=most_frequent_first(ops),
        facts=facts,
    )


def _walk(model: Any) -> Iterator[Any]:
    """Every node and tensor of a model, those of inner graphs and local functions included."""
    pending = [model.graph, *model.functions]
    while pending:
        holder = pending.pop()
        if holder.DESCRIPTOR.name == "GraphProto":
            yield from holder.initializer
            for sparse in holder.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in holder.node:
            yield node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    pending.append(attribute.g)
                pending.extend(attribute.graphs)
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("sparse_tensor"):
                    yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
                for sparse in attribute.sparse_tensors:
                    yield from (sparse.values, sparse.indices)


def _tensor_bytes(path: Path, tensor: Any) -> int:
    """Bytes of one constant as stored; raises where they are elsewhere or the shape says else."""
    name = _text(tensor.name)
    if tensor.data_location == 1 or tensor.external_data:  # TensorProto.EXTERNAL
        raise UnreadableFile(
            f"{path} keeps its weight {name!r} in another file; edgevit reads single files only.",
            next=f"python -c '{MERGE}' {shlex.quote(str(path))} whole.onnx",
        )
    kind = _type_name(tensor.data_type)
    if kind == "STRING":
        return sum(len(value) for value in tensor.string_data)
    bits = BITS[kind]
    if tensor.HasField("raw_data"):
        stored = len(tensor.raw_data)
    else:
        stored = (
            4 * len(tensor.float_data)
            + 8 * len(tensor.double_data)
            + 8 * len(tensor.int64_data)
            + max(1, bits // 8) * (len(tensor.int32_data) + len(tensor.uint64_data))
        )
    if stored != packed_bytes(tuple(tensor.dims), bits):
        raise MalformedError(f"the weight {name!r} has {stored:,} bytes, not what its shape says")
    return stored


def _text(value: str | bytes) -> str:
    # Strings of onnx.proto are proto2's: what is not UTF-8 comes as bytes, without an error.
    if isinstance(value, bytes):
        raise MalformedError("a name in it is not text")
    return printable(value)


def _type_name(number: int) -> str:
    from onnx import TensorProto

    try:
        name = str(TensorProto.DataType.Name(number))
    except ValueError:
        raise MalformedError(f"it names the unknown data type {number}") from None
    if name != "STRING" and name not in BITS:
        raise MalformedError(f"it names the data type {name}, which cannot be measured")
    return name


def _spec(value: Any) -> TensorSpec:
    name = _text(value.name)
    if not value.type.HasField("tensor_type"):
        return TensorSpec(name=name, shape=(), dtype=value.type.WhichOneof("value") or "unknown")
    tensor = value.type.tensor_type
    kind = _type_name(tensor.elem_type)
    shape = tuple(
        size.dim_value if size.HasField("dim_value") else DYNAMIC for size in tensor.shape.dim
    )
    return TensorSpec(name=name, shape=shape, dtype=NUMPY_NAMES.get(kind, kind.lower()))
