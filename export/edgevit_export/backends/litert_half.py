"""Half precision in a .tflite file: floats are halves on ARM cores that compute them, from
ARMv8.2's on, and float32 elsewhere.

The model says in its metadata that halves are allowed; LiteRT's XNNPACK then takes its kernels for
them where the core has the instructions. It gives up on the whole of a graph, and only there, for
one operation that has no such kernel. So these are written in a form that has one, which computes
the same.

Source: "reduced_precision_support" in tensorflow/compiler/mlir/lite/tools/optimize/
reduced_precision_metadata.h; the forms were found by running them (LiteRT 2.3.0, emulated A77).
"""

import numpy as np

from edgevit_export.backends.litert_graph import Graph, ints

METADATA, ALLOWED = "reduced_precision_support", b"fp16accfp16"


def allow_half(graph: Graph) -> None:
    """Let the floats of a graph be halves."""
    turn_left_operands(graph)
    turn_constant_operands(graph)
    flatten_pads(graph)
    graph.tell(METADATA, ALLOWED)


def turn_left_operands(graph: Graph) -> None:
    """A^T B with A^T as an operation of its own: products in half cannot turn A themselves."""
    for product in graph.of_kind("BATCH_MATMUL"):
        if product.builtinOptions.adjX:
            left, right = map(int, product.inputs)
            turned = graph.computed(left, _turned(graph.shape(left)))
            _transpose(graph, left, turned, graph.operators.index(product))
            product.inputs, product.builtinOptions.adjX = ints(turned, right), False


def turn_constant_operands(graph: Graph) -> None:
    """A B of a constant B as A (B^T)^T, B^T the constant: products in half read no constant."""
    for product in graph.of_kind("BATCH_MATMUL"):
        left, right = map(int, product.inputs)
        value = graph.value(right)
        if value is not None:
            held = graph.constant(np.ascontiguousarray(value.swapaxes(-1, -2)))
            turned = graph.computed(right, graph.shape(right))
            _transpose(graph, held, turned, graph.operators.index(product))
            product.inputs = ints(left, turned)


def flatten_pads(graph: Graph) -> None:
    """Zeros around a map [1, H, W, C] as zeros around [1, H, W C]: one copy a row and not a column.

    In float32, XNNPACK takes such zeros into the convolution behind them; in half it does not.
    """
    for pad in graph.of_kind("PAD"):
        source, result = int(pad.inputs[0]), int(pad.outputs[0])
        sizes, shape = graph.value(int(pad.inputs[1])), graph.shape(source)
        floats = graph.tensors[source].type == graph.schema.TensorType.FLOAT32
        if sizes is None or len(shape) != 4 or sizes[0].any() or sizes[3].any() or not floats:
            continue
        padded, channels = graph.shape(result), shape[3]
        flat = graph.computed(source, [*shape[:2], shape[2] * channels])
        wide = graph.computed(source, [*padded[:2], padded[2] * channels])
        place = graph.operators.index(pad)
        _reshape(graph, source, flat, place)
        _reshape(graph, wide, result, place + 2)
        rows = np.stack([sizes[0], sizes[1], sizes[2] * channels]).astype(np.int32)
        pad.inputs, pad.outputs = ints(flat, graph.constant(rows)), ints(wide)


def _turned(shape: list[int]) -> list[int]:
    return [*shape[:-2], shape[-1], shape[-2]]


def _transpose(graph: Graph, source: int, result: int, place: int) -> None:
    order = _turned(list(range(len(graph.shape(source)))))
    options = graph.schema.TransposeOptionsT()
    graph.insert("TRANSPOSE", [source, graph.constant(ints(*order))], [result], place, options)


def _reshape(graph: Graph, source: int, result: int, place: int) -> None:
    options = graph.schema.ReshapeOptionsT()
    options.newShape = ints(*graph.shape(result))
    sizes = graph.constant(ints(*graph.shape(result)))
    graph.insert("RESHAPE", [source, sizes], [result], place, options)
