import sys
from collections import Counter
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import MissingPackage, UnreadableFile
from edgevit_export.readers import litert
from edgevit_export.readers.litert import read

NAMES = {n: name for name, n in vars(schema.BuiltinOperator).items() if name.isupper()}


def test_reports_what_the_network_holds(tflite_file):
    report = read(tflite_file)
    assert report.format == "litert"
    assert report.size == tflite_file.stat().st_size
    assert [(spec.shape, spec.dtype) for spec in report.inputs] == [((1, 3, 8, 8), "float32")]
    assert [(spec.shape, spec.dtype) for spec in report.outputs] == [((1, 4), "float32")]
    assert report.ops["CONV_2D"] == 1
    assert report.ops["FULLY_CONNECTED"] == 1
    assert report.facts["subgraphs"] == 1
    assert report.delegated_subgraphs is None


def test_agrees_with_the_official_schema_classes(tflite_file):
    model = schema.ModelT.InitFromPackedBuf(tflite_file.read_bytes(), 0)
    graph = model.subgraphs[0]
    codes = [NAMES[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]
    report = read(tflite_file)
    assert report.ops == Counter(codes)
    used = {tensor.buffer for tensor in graph.tensors}
    data = [model.buffers[index].data for index in used]
    assert report.weight_bytes == sum(len(d) for d in data if d is not None)


def test_tables_name_operations_of_the_schema():
    assert set(NAMES.values()) >= litert.TAKEN | litert.STATE | set(litert.NEVER_TAKEN)
    assert litert.TAKEN.isdisjoint(litert.NEVER_TAKEN)
    assert schema.BuiltinOptions2.StableHLOCompositeOptions == litert.COMPOSITE_OPTIONS


def model_of(path: Path, *ops: tuple[int, bytes | None], dtype: int = 9, **model_fields) -> Path:
    """A chain of operations over one quantized tensor, as the official classes write it."""
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.array([0.5], np.float32)
    quantization.zeroPoint = np.array([-3], np.int64)
    tensor = schema.TensorT()
    tensor.name, tensor.shape = b"x", np.array([1, 2], np.int32)
    tensor.type, tensor.quantization, tensor.buffer = dtype, quantization, 0
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    model.buffers = [schema.BufferT()]
    for place, (number, custom) in enumerate(ops):
        code = schema.OperatorCodeT()
        code.builtinCode, code.customCode = number, custom
        code.deprecatedBuiltinCode = min(number, 127)
        model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = place, [0], [0]
        if number == schema.BuiltinOperator.STABLEHLO_COMPOSITE:
            operator.builtinOptions2Type = schema.BuiltinOptions2.StableHLOCompositeOptions
            operator.builtinOptions2 = schema.StableHLOCompositeOptionsT()
            operator.builtinOptions2.name = b"odml.rms_norm"
        graph.operators.append(operator)
    for name, value in model_fields.items():
        setattr(model, name, value)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_quantization_is_told(tmp_path):
    report = read(model_of(tmp_path / "q.tflite", (schema.BuiltinOperator.RELU, None)))
    assert report.inputs == (TensorSpec("x", (1, 2), "int8"),)
    assert report.facts["quantization of x"] == "scale 0.5, zero point -3"
    assert report.left_out == ()


def test_what_the_delegate_never_takes_has_its_reason(tmp_path):
    ops = schema.BuiltinOperator
    path = model_of(
        tmp_path / "left.tflite",
        (ops.SQUEEZE, None),
        (ops.CUMSUM, None),
        (ops.CUSTOM, b"MyOp"),
        (ops.STABLEHLO_COMPOSITE, None),
        (ops.ADD, None),
    )
    reasons = {entry.op: entry.reason for entry in read(path).left_out}
    assert reasons == {
        "SQUEEZE": "XNNPACK's delegate takes no squeeze; a RESHAPE is taken",
        "CUMSUM": litert.UNKNOWN,
        "CUSTOM MyOp": litert.UNKNOWN,
        "STABLEHLO_COMPOSITE odml.rms_norm": litert.UNKNOWN,
    }


def test_integer_results_stay_outside(tmp_path):
    path = model_of(tmp_path / "i.tflite", (schema.BuiltinOperator.RESHAPE, None), dtype=2)
    assert [entry.reason for entry in read(path).left_out] == [
        "it gives int32; XNNPACK's delegate takes float32 and 8-bit numbers only"
    ]


def test_a_graph_without_tensors_it_needs_is_refused(tmp_path):
    path = model_of(tmp_path / "b.tflite", (schema.BuiltinOperator.RELU, None), buffers=[])
    with pytest.raises(UnreadableFile, match="points to nothing"):
        read(path)


def test_without_the_package_the_install_line_is_told(tflite_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    with pytest.raises(MissingPackage) as caught:
        read(tflite_file)
    assert caught.value.next == "pip install 'edgevit[litert]'"
