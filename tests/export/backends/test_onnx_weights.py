"""Integer weights and biases of small graphs: what changes in them, and what they compute."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import ModelProto, parser

from edgevit_export.backends.onnx_weights import integer_biases, transpose_weights

LAYER = """
<ir_version: 10, opset_import: ["" : 18]>
layer (float[2, 4] x) => (float[2, 3] y)
<
  float scale = {{0.05}}, uint8 zero = {{128}}, float[3] scales = {{0.5, 0.25, 1.0}},
  int8[3, 4] weight = {{1, 2, 3, 4, -5, 6, 7, -8, 9, 10, 11, 127}}, float[3] bias = {{{bias}}}
>
{{
  integers = QuantizeLinear (x, scale, zero)
  floats = DequantizeLinear (integers, scale, zero)
  dequantized = DequantizeLinear <axis = 0> (weight, scales)
  turned = Transpose <perm = [1, 0]> (dequantized)
  {body}
}}
"""
PRODUCT = "product = MatMul (floats, turned) y = Add (product, bias)"
GEMM = "y = Gemm (floats, turned, bias)"
X = np.random.default_rng(0).uniform(-5, 5, (2, 4)).astype(np.float32)


def layer(body: str = PRODUCT, bias: str = "0.3, -2.0, 7.7") -> ModelProto:
    proto: ModelProto = parser.parse_model(LAYER.format(body=body, bias=bias))
    return proto


def edited(proto: ModelProto, *edits) -> ModelProto:
    model = ir.from_proto(proto)
    for edit in edits:
        edit(model)
    return ir.to_proto(model)


def computed(proto: ModelProto):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": X})[0]


def kinds(proto: ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


@pytest.mark.parametrize("body", [PRODUCT, GEMM], ids=["matmul", "gemm"])
def test_weights_are_stored_as_the_product_reads_them(body):
    before = layer(body)
    after = edited(before, transpose_weights)
    assert "Transpose" not in kinds(after)
    (weight,) = (tensor for tensor in after.graph.initializer if tensor.name == "weight")
    assert list(weight.dims) == [4, 3]
    np.testing.assert_array_equal(computed(after), computed(before))


@pytest.mark.parametrize(
    "body",
    [
        f"{PRODUCT} again = Transpose <perm = [1, 0]> (dequantized)",
        f"{PRODUCT} again = DequantizeLinear <axis = 0> (weight, scales)",
    ],
    ids=["floats", "integers"],
)
def test_weights_with_another_reader_stay(body):
    proto = layer(body)
    after = edited(proto, transpose_weights)
    assert kinds(after) == kinds(proto)
    assert [list(t.dims) for t in after.graph.initializer if t.name == "weight"] == [[3, 4]]


@pytest.mark.parametrize("body", [PRODUCT, GEMM], ids=["matmul", "gemm"])
def test_biases_become_integers_of_the_products_scale(body):
    before = layer(body)
    after = edited(before, transpose_weights, integer_biases)
    assert kinds(after)[0] == "DequantizeLinear"
    constants = {tensor.name: tensor for tensor in after.graph.initializer}
    assert "bias" not in constants
    scales = np.array([0.5, 0.25, 1.0], np.float32) * 0.05
    stored = np.frombuffer(constants["bias_0_int32"].raw_data, np.int32)
    np.testing.assert_array_equal(stored, np.rint(np.array([0.3, -2.0, 7.7]) / scales))
    assert (np.abs(computed(after) - computed(before)) <= scales / 2 + 1e-5).all()


def test_a_bias_too_large_for_its_scale_stays_float():
    proto = layer(bias="1e9, 0, 0")
    assert kinds(edited(proto, integer_biases)) == kinds(proto)


def test_a_product_of_floats_keeps_its_bias():
    proto = layer("product = MatMul (x, turned) y = Add (product, bias)")
    after = edited(proto, integer_biases)
    assert "bias" in {tensor.name for tensor in after.graph.initializer}
    assert kinds(after) == ["DequantizeLinear", "Transpose", "MatMul", "Add"]
