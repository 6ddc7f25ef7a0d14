"""What a .tflite file holds: operations, inputs and outputs, quantization and bytes of weights.

Tables are read by slot numbers of LiteRT's schema (ai-edge-litert 2.3.0); what the runtime's
XNNPACK delegate takes follows VisitNode in LiteRT's tflite/delegates/xnnpack/xnnpack_delegate.cc.
"""

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import MissingPackage
from edgevit_export.readers.flatbuffer import Table, Window
from edgevit_export.readers.report import FileReport, LeftOut
from edgevit_export.readers.source import (
    MalformedError,
    add,
    most_frequent_first,
    opened,
    printable,
)

KIND = "a LiteRT model"
IDENTIFIER = b"TFL3"
CUSTOM, COMPOSITE = "CUSTOM", "STABLEHLO_COMPOSITE"
COMPOSITE_OPTIONS = 21  # StableHLOCompositeOptions in the union BuiltinOptions2
DELEGATE_NOTE = (
    "chosen by the runtime at load time; left out is what its XNNPACK delegate never takes"
)

# Operations the XNNPACK delegate has code for; each has conditions that only the runtime decides.
TAKEN = frozenset(
    (
        "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "CONCATENATION",
        "CONV_2D", "COS", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV", "ELU", "EXP",
        "EXPAND_DIMS", "FLOOR", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC",
        "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "NEG", "PAD", "PRELU", "QUANTIZE",
        "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1", "RESHAPE",
        "RESIZE_BILINEAR", "ROUND", "RSQRT", "SIN", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT",
        "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE",
        "TRANSPOSE_CONV",
    )
)  # fmt: skip
TAKEN_TYPES = ("float32", "int8", "uint8")
STATE = frozenset(("ASSIGN_VARIABLE", "READ_VARIABLE", "VAR_HANDLE"))  # taken, of any type
TAKEN_BY_NAME = frozenset(
    (
        "CUSTOM Convolution2DTransposeBias", "CUSTOM MaxPoolingWithArgmax2D",
        "CUSTOM MaxUnpooling2D", "CUSTOM odml.scaled_dot_product_attention",
        "STABLEHLO_COMPOSITE odml.scaled_dot_product_attention",
    )
)  # fmt: skip
NEVER_TAKEN: Mapping[str, str] = {
    "SQUEEZE": "XNNPACK's delegate takes no squeeze; a RESHAPE is taken",
    "PACK": "XNNPACK's delegate takes no stacking; CONCATENATION is taken",
    "UNPACK": "XNNPACK's delegate takes no unstacking; SPLIT is taken",
    "SPLIT_V": "XNNPACK's delegate takes equal parts (SPLIT) only",
    "RESIZE_NEAREST_NEIGHBOR": "XNNPACK's resize is bilinear only",
    "ARG_MAX": "XNNPACK gives values only, never indices",
    "GATHER": "XNNPACK has no gathering by index",
    "GATHER_ND": "XNNPACK has no gathering by index",
    "BROADCAST_TO": "XNNPACK has no broadcasting copy",
}
UNKNOWN = "not in the list of operations that the runtime's XNNPACK delegate takes"


def read(path: Path) -> FileReport:
    """The contents of a .tflite file; a size that is not fixed is shown as -1.

    Raises `UnreadableFile`, also where weights lie in another file, and `MissingPackage` without
    ai-edge-litert, whose schema gives the names of operations.
    """
    try:
        from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType
    except ImportError:
        raise MissingPackage(
            "Reading .tflite files needs ai-edge-litert, which is not installed.",
            next="pip install 'edgevit[litert]'",
        ) from None
    op_names = {number: name for name, number in vars(BuiltinOperator).items() if name.isupper()}
    dtypes = {number: name.lower() for name, number in vars(TensorType).items() if name.isupper()}
    with opened(path, KIND) as data:
        if len(data) < 8 or data[4:8] != IDENTIFIER:
            raise MalformedError(f"it does not say {IDENTIFIER.decode()} at its beginning")
        return _report(data, Window(data, 0, len(data)).root(), op_names, dtypes)


def _report(
    data: mmap.mmap, model: Table, op_names: Mapping[int, str], dtypes: Mapping[int, str]
) -> FileReport:
    graphs = model.tables(2)
    if not graphs:
        raise MalformedError("it has no graph")
    tensors = tuple(graph.tables(0) for graph in graphs)
    codes = model.tables(1)
    ops: dict[str, int] = {}
    left: dict[tuple[str, str], int] = {}
    for graph, values in zip(graphs, tensors, strict=True):
        for operator in graph.tables(3):
            name = _op_name(_at(codes, operator.integer(0)), operator, op_names)
            add(ops, name)
            results = [_dtype(_at(values, index), dtypes) for index in operator.integers(2)]
            if reason := _reason_left_out(name, results):
                left[name, reason] = left.get((name, reason), 0) + 1
    inputs = [_at(tensors[0], index) for index in graphs[0].integers(1)]
    outputs = [_at(tensors[0], index) for index in graphs[0].integers(2)]
    ordered = sorted(left.items(), key=lambda item: (-item[1], item[0]))
    return FileReport(
        format="litert",
        size=len(data),
        weight_bytes=_weight_bytes(len(data), model, tensors),
        inputs=tuple(_spec(tensor, dtypes) for tensor in inputs),
        outputs=tuple(_spec(tensor, dtypes) for tensor in outputs),
        ops=most_frequent_first(ops),
        left_out=tuple(LeftOut(op=op, count=n, reason=reason) for (op, reason), n in ordered),
        facts=_facts(model, len(graphs), (*inputs, *outputs)),
    )


def _facts(model: Table, graphs: int, ports: Sequence[Table]) -> dict[str, str | int]:
    facts: dict[str, str | int] = {"schema version": model.integer(0), "subgraphs": graphs}
    if description := model.text(3):
        facts["description"] = printable(description)
    for tensor in ports:
        if quantization := _quantization(tensor):
            facts[f"quantization of {printable(tensor.text(3))}"] = quantization
    facts["delegate"] = DELEGATE_NOTE
    return facts


def _reason_left_out(name: str, results: Sequence[str]) -> str:
    """Why the runtime's XNNPACK delegate never takes an operation; empty where it may."""
    if name in TAKEN_BY_NAME or name in STATE:
        return ""
    if name not in TAKEN:
        return NEVER_TAKEN.get(name, UNKNOWN)
    if results and results[0] not in TAKEN_TYPES:
        return f"it gives {results[0]}; XNNPACK's delegate takes float32 and 8-bit numbers only"
    return ""


def _op_name(code: Table, operator: Table, op_names: Mapping[int, str]) -> str:
    # Files from before the 128th operation have the older, 8-bit field only.
    number = max(code.integer(0, "b"), code.integer(3, "i"))
    name = op_names.get(number, f"operation {number}")
    if name == CUSTOM:
        return printable(f"{CUSTOM} {code.text(1)}")
    if name == COMPOSITE and operator.integer(11, "B") == COMPOSITE_OPTIONS:
        options = operator.table(12)
        return printable(f"{COMPOSITE} {options.text(0) if options else ''}")
    return name


def _weight_bytes(size: int, model: Table, tensors: Sequence[Sequence[Table]]) -> int:
    """Bytes of the buffers that tensors refer to, each once; metadata is no weight."""
    buffers = model.tables(4)
    used = {tensor.integer(2) for graph in tensors for tensor in graph}
    if any(tensor.integer(10) for graph in tensors for tensor in graph):
        raise MalformedError("a weight lies in another file, and single files are read only")
    total = 0
    for index in used:
        buffer = _at(buffers, index)
        start, length = buffer.blob(0)
        if buffer.integer(1, "Q") > 1:  # weights behind the flatbuffer, in files of more than 2 GiB
            start, length = buffer.integer(1, "Q"), buffer.integer(2, "Q")
        if start + length > size:
            raise MalformedError("a weight lies outside of the file")
        total += length
    return total


def _dtype(tensor: Table, dtypes: Mapping[int, str]) -> str:
    number = tensor.integer(1, "b")
    if number not in dtypes:
        raise MalformedError(f"a tensor has the unknown data type {number}")
    return dtypes[number]


def _spec(tensor: Table, dtypes: Mapping[int, str]) -> TensorSpec:
    shape = tensor.integers(7) or tensor.integers(0)  # the signature has -1 where a size is free
    return TensorSpec(name=printable(tensor.text(3)), shape=shape, dtype=_dtype(tensor, dtypes))


def _quantization(tensor: Table) -> str:
    """Scale and zero point as text; empty where the tensor is not quantized."""
    parameters = tensor.table(4)
    if parameters is None:
        return ""
    scales, zeros = parameters.numbers(2, "f"), parameters.integers(3, "q")
    if len(scales) > 1:
        return f"{len(scales)} scales along dimension {parameters.integer(6, 'i')}"
    return f"scale {scales[0]:.9g}, zero point {zeros[0] if zeros else 0}" if scales else ""


def _at(items: Sequence[Table], index: int) -> Table:
    if not 0 <= index < len(items):
        raise MalformedError("a number in it points to nothing")
    return items[index]
