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

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from edgevit_export.errors import LoweringFailed
from edgevit_export.quantization.layers import (
    check_half,
    counted,
    fingerprint,
    fingerprints,
    kept_fp32,
    layers_of,
)
from edgevit_export.scheme import Scheme

CONVOLUTIONS = {"Conv": 0, "ConvTranspose": 1}  # -> dimension of the weight's output channels
LINEARS = ("MatMul",)
GROUP = 32
INT8_PRODUCTS = 4  # accuracy_level of MatMulNBits: activations as int8, which ARM is fast at
SMALLEST = 2.0**-100  # of a scale; a channel of zeros has one, too


def with_precision(
    proto: ModelProto, model: nn.Module, example: tuple[Tensor, ...], scheme: Scheme
) -> tuple[ModelProto, Mapping[str, str | int]]:
    """The float file's graph at `scheme`, and the facts of it.

    Raises `Unsupported` where no layer is left, or a weight is beyond float16.
    """
    if scheme.precision == "fp16":
        check_half(model, kept_fp32(model))
    layers = layers_of(model, example, scheme)
    wanted = fingerprints(model, layers)
    proto = _plain_products(proto)
    found = _weights(proto, set(wanted))
    done = {wanted[key] for key in found.values()}
    total = len(layers.chosen) + len(layers.floats)
    facts: dict[str, str | int] = {**counted(len(done), total - len(done))}
    linears = [
        node.name for node in proto.graph.node if node.op_type in LINEARS and node.input[1] in found
    ]
    match scheme.precision:
        case "fp16":
            _store(proto, found, _half)
            facts["products"] = "float32"
        case "w8":
            _store(proto, found, _int8)
        case "w8dyn":
            proto = _dynamic(proto, linears) if linears else proto
            _store(proto, found, _int8)
            facts["dynamic_layers"] = len(linears)
        case "w4":
            proto = _four_bits(proto, linears) if linears else proto
            _store(proto, found, _int8)
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
    return _with_nodes(holder.model)


def _with_nodes(proto: ModelProto) -> ModelProto:
    """Without the constants nobody reads any more."""
    read = {name for node in proto.graph.node for name in node.input}
    read |= {value.name for value in proto.graph.output}
    kept = [tensor for tensor in proto.graph.initializer if tensor.name in read]
    if len(kept) < len(proto.graph.initializer):
        clean = [tensor.SerializeToString() for tensor in kept]
        del proto.graph.initializer[:]
        for content in clean:
            proto.graph.initializer.add().ParseFromString(content)
    return proto


def _weights(proto: ModelProto, wanted: set[bytes]) -> dict[str, bytes]:
    """Names of the constants that are weights of wanted layers, with their fingerprints."""
    floats = {
        tensor.name: tensor
        for tensor in proto.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    found: dict[str, bytes] = {}
    for node in proto.graph.node:
        if node.op_type not in (*CONVOLUTIONS, *LINEARS) or node.input[1] not in floats:
            continue
        key = fingerprint(numpy_helper.to_array(floats[node.input[1]]))
        if key in wanted:
            found[node.input[1]] = key
    return found


def _dynamic(proto: ModelProto, nodes: list[str]) -> ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        quantize_dynamic(
            proto,
            path,
            op_types_to_quantize=list(LINEARS),
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
    return _with_nodes(quantizer.model.model)


def _store(proto: ModelProto, names: Mapping[str, bytes], store: Any) -> None:
    """Put what `store` makes of each of these constants in its place, in front of its readers."""
    graph = proto.graph
    position = {tensor.name: number for number, tensor in enumerate(graph.initializer)}
    made: list[NodeProto] = []
    for name in names:
        reader = next((n for n in graph.node if len(n.input) > 1 and n.input[1] == name), None)
        if name not in position or reader is None:
            continue  # another tool took it
        axis = CONVOLUTIONS.get(reader.op_type, 1)
        tensor = graph.initializer[position[name]]
        made.extend(store(graph, tensor, numpy_helper.to_array(tensor), axis))
    nodes = [*made, *(NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)


def _half(graph: Any, tensor: Any, values: Any, axis: int) -> list[NodeProto]:
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
    return [
        onnx.helper.make_node(
            "Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=onnx.TensorProto.FLOAT
        )
    ]


def _int8(graph: Any, tensor: Any, values: Any, axis: int) -> list[NodeProto]:
    """w = scale * q with scale = max|w| / 127 of an output channel, q rounded to the nearest."""
    name = tensor.name
    others = tuple(d for d in range(values.ndim) if d != axis)
    scales = np.maximum(np.abs(values).max(axis=others) / 127, SMALLEST).astype(np.float32)
    shape = [-1 if d == axis else 1 for d in range(values.ndim)]
    integers = np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8)
    tensor.CopyFrom(numpy_helper.from_array(integers, f"{name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scales.reshape(shape), f"{name}_scales"))
    return [
        onnx.helper.make_node(
            "Cast",
            [f"{name}_int8"],
            [f"{name}_float"],
            name=f"{name}_cast",
            to=onnx.TensorProto.FLOAT,
        ),
        onnx.helper.make_node(
            "Mul", [f"{name}_float", f"{name}_scales"], [name], name=f"{name}_scale"
        ),
    ]
