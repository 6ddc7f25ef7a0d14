"""float32 at the borders of an integer .tflite file.

The converter takes a quantize step right behind an input into the input itself, and the same at
outputs, so that users would have to scale their pictures by numbers of the file. One QUANTIZE and
one DEQUANTIZE operation at the borders cost less than that.

Source: the TensorFlow Lite schema, as ai-edge-litert ships it.
"""

from typing import Any

import numpy as np

IDENTIFIER = b"TFL3"


def with_float_borders(content: bytes) -> bytes:
    """The same model with every int8 input and output of its graph as float32."""
    import flatbuffers  # type: ignore[import-untyped]
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    graph = model.subgraphs[0]

    def code(builtin: int) -> int:
        for index, known in enumerate(model.operatorCodes):
            if max(known.builtinCode, known.deprecatedBuiltinCode) == builtin:
                return index
        entry = schema.OperatorCodeT()
        entry.builtinCode = builtin
        entry.deprecatedBuiltinCode = min(builtin, 127)  # readers from before 2020 look here
        entry.version = 1
        model.operatorCodes.append(entry)
        return len(model.operatorCodes) - 1

    def floated(index: int, is_input: bool) -> int:
        inner = graph.tensors[index]
        if inner.type != schema.TensorType.INT8:
            return index
        outer = schema.TensorT()
        outer.shape, outer.shapeSignature = inner.shape, inner.shapeSignature
        outer.type, outer.hasRank = schema.TensorType.FLOAT32, True
        outer.buffer = 0  # holds nothing, as the schema wants of what is computed
        outer.name, inner.name = inner.name, inner.name + b"_int8"
        graph.tensors.append(outer)
        number = len(graph.tensors) - 1
        step = schema.OperatorT()
        builtin = schema.BuiltinOperator
        step.opcodeIndex = code(builtin.QUANTIZE if is_input else builtin.DEQUANTIZE)
        ends = (number, index) if is_input else (index, number)
        step.inputs, step.outputs = _ints(ends[0]), _ints(ends[1])
        graph.operators.insert(0 if is_input else len(graph.operators), step)
        return number

    graph.inputs = _ints(*(floated(int(index), True) for index in graph.inputs))
    graph.outputs = _ints(*(floated(int(index), False) for index in graph.outputs))
    for signature in model.signatureDefs or []:
        for entry, index in zip(signature.inputs, graph.inputs, strict=True):
            entry.tensorIndex = int(index)
        for entry, index in zip(signature.outputs, graph.outputs, strict=True):
            entry.tensorIndex = int(index)
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _ints(*values: int) -> Any:
    return np.array(values, np.int32)
