"""Integer weights of an .onnx file in the place and order that ONNX Runtime's kernels read them."""

from collections import Counter
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper


def transpose_weights(proto: ModelProto) -> ModelProto:
    """Transpose integer weights in the file instead of at run time.

    A linear layer is written as DequantizeLinear(W, scales, axis 0), Transpose, MatMul. The runtime
    makes an integer product only of DequantizeLinear and MatMul side by side, and never moves the
    transposition itself, as it would have to through the integers. Leaves W^T with axis 1.
    """
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    readers = Counter(name for node in graph.node for name in node.input)
    dropped: list[NodeProto] = []
    for node in graph.node:
        source = made.get(node.input[0]) if node.op_type == "Transpose" else None
        if source is None or source.input[0] not in weights:
            continue
        order = next(list(a.ints) for a in node.attribute if a.name == "perm")
        if order != [1, 0] or readers[source.output[0]] != 1 or readers[source.input[0]] != 1:
            continue
        tensor = weights[source.input[0]]
        turned = np.ascontiguousarray(numpy_helper.to_array(tensor).T)
        tensor.CopyFrom(numpy_helper.from_array(turned, tensor.name))
        for attribute in source.attribute:
            if attribute.name == "axis":
                attribute.i = 1 - attribute.i
        source.output[0] = node.output[0]
        dropped.append(node)
    for node in dropped:
        graph.node.remove(node)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def integer_biases(proto: ModelProto) -> ModelProto:
    """Give linear layers their bias as integers: b = s_x s_w q, q of 32 bits.

    ONNX Runtime makes MatMul and Add one Gemm before it looks for integer products, and then finds
    one (QGemm) only where the bias is integer, too; with a float bias every weight is dequantized
    at run time and the product is float, at half the speed of a float file. The scale is that of
    the products the bias is added to, as in LiteRT's quantization specification. A bias too large
    for it stays float.
    """
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    added: list[NodeProto] = []
    for node in graph.node:
        found = _biased_product(node, made)
        if found is None:
            continue
        (left, right), place = found
        bias = node.input[place]
        scales = [_scale(made.get(name), made, constants) for name in (left, right)]
        if bias not in constants or scales[0] is None or scales[1] is None:
            continue
        scale = scales[0] * scales[1]
        integers = np.rint(numpy_helper.to_array(constants[bias]).astype(np.float64) / scale)
        if integers.ndim != 1 or np.abs(integers).max() > np.iinfo(np.int32).max:
            continue
        scale = np.broadcast_to(scale, integers.shape).astype(np.float32)
        name = f"{bias}_{len(added)}"
        graph.initializer.append(
            numpy_helper.from_array(integers.astype(np.int32), f"{name}_int32")
        )
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scales"))
        added.append(
            onnx.helper.make_node(
                "DequantizeLinear",
                [f"{name}_int32", f"{name}_scales"],
                [f"{name}_float"],
                name=f"{name}_dequantize",
                axis=0,
            )
        )
        node.input[place] = f"{name}_float"
    nodes = [*added, *(NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _biased_product(
    node: NodeProto, made: dict[str, NodeProto]
) -> tuple[tuple[str, str], int] | None:
    """The two factors in front of a bias, and which input of `node` the bias is."""
    if node.op_type == "Gemm" and len(node.input) == 3:
        return (node.input[0], node.input[1]), 2
    if node.op_type == "Add":
        for place, name in enumerate(node.input):
            product = made.get(name)
            if product is not None and product.op_type == "MatMul":
                return (product.input[0], product.input[1]), 1 - place
    return None


def _scale(
    node: NodeProto | None, made: dict[str, NodeProto], constants: dict[str, onnx.TensorProto]
) -> Any:
    """The scale of what is dequantized, perhaps reshaped behind that; None of anything else."""
    while node is not None and node.op_type == "Reshape":
        node = made.get(node.input[0])
    if node is None or node.op_type != "DequantizeLinear" or node.input[1] not in constants:
        return None
    return numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
