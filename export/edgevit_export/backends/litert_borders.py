"""float32 at the borders of an integer .tflite file.

The converter takes a quantize step right behind an input into the input itself, and the same at
outputs, so that users would have to scale their pictures by numbers of the file. One QUANTIZE and
one DEQUANTIZE operation at the borders cost less than that.
"""

from edgevit_export.backends.litert_graph import Graph, ints


def with_float_borders(graph: Graph) -> None:
    """Make every int8 input and output float32."""
    schema, inner = graph.schema, graph.model.subgraphs[0]

    def floated(index: int, is_input: bool) -> int:
        held = graph.tensors[index]
        if held.type != schema.TensorType.INT8:
            return index
        number = graph.computed(index, graph.shape(index))
        outer = graph.tensors[number]
        outer.shapeSignature, outer.quantization = held.shapeSignature, None
        outer.type = schema.TensorType.FLOAT32
        outer.name, held.name = held.name, held.name + b"_int8"
        if is_input:
            graph.insert("QUANTIZE", [number], [index], 0)
        else:
            graph.insert("DEQUANTIZE", [index], [number], len(graph.operators))
        return number

    inner.inputs = ints(*(floated(int(index), True) for index in inner.inputs))
    inner.outputs = ints(*(floated(int(index), False) for index in inner.outputs))
    for signature in graph.model.signatureDefs or []:
        for entry, index in zip(signature.inputs, inner.inputs, strict=True):
            entry.tensorIndex = int(index)
        for entry, index in zip(signature.outputs, inner.outputs, strict=True):
            entry.tensorIndex = int(index)
