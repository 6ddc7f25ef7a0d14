"""Reduced precisions of an .onnx file: its float graph with other weights.

w8     int8 weights, a scale an output channel, behind Cast and Mul; products in float. The runtime
       folds both when it loads the file. Behind DequantizeLinear, which it keeps, convolutions
       cannot pack their weights and TopFormer-T takes three times as long.
w8dyn  linear layers as DynamicQuantizeLinear and MatMulInteger (ONNX Runtime's quantize_dynamic),
       convolutions as w8: ConvInteger is ten times slower in ONNX Runtime than float (TopFormer-T,
       x86), and loses 10 dB, for its activations share one scale a tensor.
w4     linear layers as MatMulNBits of com.microsoft in groups of 32, rounded to the nearest;
       convolutions as w8, because no operator has 4-bit ones.
fp16   float16 weights behind Cast, which the runtime folds when it loads the file; products in
       float32: ONNX Runtime's CPU kernels have no others for most operations.
"""

import ast
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import ModelProto, numpy_helper
from onnx_ir.tape import Tape
from torch import Tensor, nn

from edgevit_export.errors import LoweringFailed
from edgevit_export.quantization.layers import check_half, counted, kept_fp32, layers_of
from edgevit_export.scheme import Scheme

CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}  # -> dimension of the weight's output channels
LINEAR = "MatMul"
PRODUCTS = (*CONVOLUTIONS, LINEAR, "Gemm")
SCOPES = "pkg.torch.onnx.name_scopes"  # the exporter's note on a node: paths, outermost first
GROUP = 32
INT8_PRODUCTS = 4  # accuracy_level of MatMulNBits: activations as int8, which ARM is fast at
SMALLEST = 2.0**-100  # of a scale; a channel of zeros has one, too


def weight_owners(exported: ir.Model, simplified: ModelProto) -> dict[str, frozenset[str]]:
    """Name of each constant of the simplified file that is a weight -> paths of the modules that
    compute with it.

    The exporter notes the scopes of each node. onnxsim drops these notes, keeps the names of
    weights, and makes one constant of equal ones, which then belongs to the modules of all of them.
    """
    owners: dict[str, frozenset[str]] = {}
    for node in exported.graph:
        weight = node.inputs[1] if node.op_type in PRODUCTS else None
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
        if weight is not None and weight.name and len(scopes) > 1:
            module = scopes[-2]  # the last one is the operation
            owners[weight.name] = owners.get(weight.name, frozenset()) | {module}
    kept = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in simplified.graph.initializer
        if tensor.name in owners
    }
    found = {name: owners[name] for name in kept}
    for name in owners.keys() - kept.keys():
        gone = exported.graph.initializers.get(name)
        if gone is None or gone.const_value is None:
            continue  # a product of two activations
        values = gone.const_value.numpy()
        twins = [other for other, own in kept.items() if np.array_equal(own, values)]
        found |= {other: found[other] | owners[name] for other in twins}
    return found


def with_precision(
    proto: ModelProto,
    owners: Mapping[str, frozenset[str]],
    model: nn.Module,
    example: tuple[Tensor, ...],
    scheme: Scheme,
) -> tuple[ModelProto, Mapping[str, str | int]]:
    """The float file's graph at `scheme`, and the facts of it.

    Raises `Unsupported` where no layer is left, or a weight is beyond float16, and `LoweringFailed`
    where no weight is found in the file.
    """
    if scheme.precision == "fp16":
        check_half(model, kept_fp32(model))
    layers = layers_of(model, example, scheme)
    proto = _plain_products(proto)
    found = _weights(proto, owners, frozenset(layers.chosen))
    if not found:
        raise LoweringFailed("None of the network's weights was found in the .onnx file.")
    done = frozenset[str]().union(*(owners[name] for name in found))
    total = len(layers.chosen) + len(layers.floats)
    facts: dict[str, str | int] = {**counted(len(done), total - len(done))}
    linears = [
        node.name for node in proto.graph.node if node.op_type == LINEAR and node.input[1] in found
    ]
    match scheme.precision:
        case "fp16":
            proto = _store(proto, found, _half)
            facts["products"] = "float32"
        case "w8":
            proto = _store(proto, found, _int8)
        case "w8dyn":
            proto = _dynamic(proto, linears) if linears else proto
            proto = _store(proto, found, _int8)
            facts["dynamic_layers"] = len(linears)
        case "w4":
            proto = _four_bits(proto, linears) if linears else proto
            proto = _store(proto, found, _int8)
            facts["four_bit_layers"] = len(linears)
        case other:
            raise LoweringFailed(f"There is no way to write {other} .onnx files.")
    for entry in proto.opset_import:
        if entry.domain not in ("", "ai.onnx"):
            facts[f"opset_{entry.domain}"] = entry.version
    return proto, facts


def _plain_products(proto: ModelProto) -> ModelProto:
    """Gemm as MatMul and Add, by ONNX Runtime's own rewrite: its tools take no other products."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    holder = ONNXModel(proto)
    holder.replace_gemm_with_matmul()
    for number, node in enumerate(holder.model.graph.node):
        node.name = node.name or f"node_{number}"
    holder.clean_initializers()
    plain: ModelProto = holder.model
    return plain


def _weights(
    proto: ModelProto, owners: Mapping[str, frozenset[str]], chosen: frozenset[str]
) -> list[str]:
    """Names of the constants that are weights of chosen layers alone, in the order of the graph."""
    floats = {
        tensor.name
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    plain = (*CONVOLUTIONS, LINEAR)
    read = (node.input[1] for node in proto.graph.node if node.op_type in plain)
    return [
        name
        for name in dict.fromkeys(read)
        if name in floats and name in owners and owners[name] <= chosen
    ]


def _dynamic(proto: ModelProto, nodes: list[str]) -> ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=[LINEAR],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
        )
        return onnx.load(path)


def _four_bits(proto: ModelProto, nodes: list[str]) -> ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    others = [node.name for node in proto.graph.node if node.name not in nodes]
    quantizer = MatMulNBitsQuantizer(
        proto,
        bits=4,
        block_size=GROUP,
        is_symmetric=True,
        accuracy_level=INT8_PRODUCTS,
        nodes_to_exclude=others,
    )
    quantizer.process()
    quantizer.model.clean_initializers()
    return quantizer.model.model


def _store(
    proto: ModelProto, names: list[str], store: Callable[[Tape, str, Any, int], ir.Value]
) -> ModelProto:
    """Put what `store` makes of each of these constants in its place, in front of its readers."""
    model = ir.from_proto(proto)
    graph = model.graph
    places = dict(graph.initializers)  # files keep their constants in this order
    added = []
    tape = Tape()
    for name in names:
        weight = places.get(name)
        reader = next((use.node for use in weight.uses() if use.idx == 1), None) if weight else None
        if weight is None or weight.const_value is None or reader is None:
            continue  # another tool took it
        count = len(tape.initializers)
        axis = CONVOLUTIONS.get(reader.op_type, 1)
        weight.replace_all_uses_with(store(tape, name, weight.const_value.numpy(), axis))
        places[name], *scales = tape.initializers[count:]
        added.extend(scales)
    graph.initializers.clear()
    for value in (*places.values(), *added):
        graph.initializers.add(value)
    graph.insert_before(graph[0], tape.nodes)
    return ir.to_proto(model)


def _half(tape: Tape, name: str, values: Any, axis: int) -> ir.Value:
    return _cast(tape, name, values.astype(np.float16), f"{name}_half", name)


def _int8(tape: Tape, name: str, values: Any, axis: int) -> ir.Value:
    """w = scale * q with scale = max|w| / 127 of an output channel, q rounded to the nearest."""
    others = tuple(d for d in range(values.ndim) if d != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    scales = np.maximum(largest / 127, SMALLEST).astype(np.float32)
    integers = np.clip(np.rint(values / scales), -127, 127).astype(np.int8)
    floats = _cast(tape, name, integers, f"{name}_int8", f"{name}_float")
    scale = tape.initializer(ir.tensor(scales, name=f"{name}_scales"))
    return tape.op("Mul", [floats, scale], name=f"{name}_scale", output=ir.val(name))


def _cast(tape: Tape, name: str, values: Any, stored: str, output: str) -> ir.Value:
    return tape.op(
        "Cast",
        [tape.initializer(ir.tensor(values, name=stored))],
        {"to": int(ir.DataType.FLOAT)},
        name=f"{name}_cast",
        output=ir.val(output),
    )
