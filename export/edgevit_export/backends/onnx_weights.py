"""Integer weights of an .onnx file in the place and order that ONNX Runtime's kernels read them."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape


def transpose_weights(model: ir.Model) -> None:
    """Transpose integer weights in the file instead of at run time.

    A linear layer is written as DequantizeLinear(W, scales, axis 0), Transpose, MatMul. The runtime
    makes an integer product only of DequantizeLinear and MatMul side by side, and never moves the
    transposition itself, as it would have to through the integers. Leaves W^T with axis 1.
    """
    for node in model.graph:
        floats = node.inputs[0] if node.op_type == "Transpose" else None
        source = floats.producer() if floats is not None else None
        if floats is None or source is None or source.op_type != "DequantizeLinear":
            continue
        weight = source.inputs[0]
        if weight is None or weight.const_value is None:
            continue
        order = node.attributes.get_ints("perm")
        if order != (1, 0) or len(floats.uses()) != 1 or len(weight.uses()) != 1:
            continue
        turned = np.ascontiguousarray(weight.const_value.numpy().T)
        weight.const_value = ir.tensor(turned, name=weight.name)
        weight.shape = ir.Shape(turned.shape)
        axis = source.attributes.get_int("axis", 1)
        source.attributes["axis"] = ir.AttrInt64("axis", 1 - axis)
        (output,) = node.outputs
        output.replace_all_uses_with(floats, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        floats.name = output.name


def integer_biases(model: ir.Model) -> None:
    """Give linear layers their bias as integers: b = s_x s_w q, q of 32 bits.

    ONNX Runtime makes MatMul and Add one Gemm before it looks for integer products, and then finds
    one (QGemm) only where the bias is integer, too; with a float bias every weight is dequantized
    at run time and the product is float, at half the speed of a float file. The scale is that of
    the products the bias is added to, as in LiteRT's quantization specification. A bias too large
    for it stays float.
    """
    tape = Tape()
    for node in model.graph:
        found = _biased_product(node)
        if found is None:
            continue
        factors, place = found
        bias = node.inputs[place]
        scales = [_scale(factor) for factor in factors]
        if bias is None or bias.const_value is None or scales[0] is None or scales[1] is None:
            continue
        scale = scales[0] * scales[1]
        integers = np.rint(bias.const_value.numpy().astype(np.float64) / scale)
        if integers.ndim != 1 or np.abs(integers).max() > np.iinfo(np.int32).max:
            continue
        name = f"{bias.name}_{len(tape.nodes)}"
        spread = np.broadcast_to(scale, integers.shape).astype(np.float32)
        floats = tape.op(
            "DequantizeLinear",
            [
                tape.initializer(ir.tensor(integers.astype(np.int32), name=f"{name}_int32")),
                tape.initializer(ir.tensor(spread, name=f"{name}_scales")),
            ],
            {"axis": 0},
            name=f"{name}_dequantize",
            output=ir.val(f"{name}_float"),
        )
        node.replace_input_with(place, floats)
    for value in tape.initializers:
        model.graph.initializers.add(value)
    model.graph.insert_before(model.graph[0], tape.nodes)
    RemoveUnusedNodesPass()(model)


def _biased_product(node: ir.Node) -> tuple[tuple[ir.Value | None, ir.Value | None], int] | None:
    """The two factors in front of a bias, and which input of `node` the bias is."""
    if node.op_type == "Gemm" and len(node.inputs) == 3:
        return (node.inputs[0], node.inputs[1]), 2
    if node.op_type == "Add":
        for place, value in enumerate(node.inputs):
            product = value.producer() if value is not None else None
            if product is not None and product.op_type == "MatMul":
                return (product.inputs[0], product.inputs[1]), 1 - place
    return None


def _scale(value: ir.Value | None) -> NDArray[np.float64] | None:
    """The scale of what is dequantized, perhaps reshaped behind that; None of anything else."""
    node = value.producer() if value is not None else None
    while node is not None and node.op_type == "Reshape":
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    scale = node.inputs[1]
    if scale is None or scale.const_value is None:
        return None
    return scale.const_value.numpy().astype(np.float64)
