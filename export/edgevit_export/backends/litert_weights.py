"""Reduced precisions of a .tflite file, by ai-edge-quantizer on the float file in memory.

w8     int8 weights behind DEQUANTIZE, a scale an output channel; products in float.
w8dyn  linear layers with int8 weights and activations made int8 at run time; convolutions as
       w8: the runtime's hybrid convolutions are three times slower than float ones (TopFormer-T,
       x86) and lose 20 dB.
w4     linear layers as w8dyn with 4 bits in groups of 32; those whose inputs are no multiple of 32
       keep 8 bits; convolutions as w8. 4-bit weights behind DEQUANTIZE cost three times the time.
fp16   float16 weights behind DEQUANTIZE, which the runtime's delegate reads once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from edgevit_export.errors import LoweringFailed
from edgevit_export.quantization.dynamic import GROUP
from edgevit_export.quantization.layers import (
    Layers,
    check_half,
    counted,
    fingerprint,
    fingerprints,
    kept_fp32,
    layers_of,
)
from edgevit_export.scheme import Scheme

LINEAR = "FULLY_CONNECTED"
# builtin operation -> the quantizer's word for it
KINDS = {
    LINEAR: LINEAR,
    "CONV_2D": "CONV_2D",
    "DEPTHWISE_CONV_2D": "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV": "CONV_2D_TRANSPOSE",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One layer of a .tflite file: its kind, scope (the quantizer's word) and float weight.

    Several may share a scope: the names are those of tensors, which the converter does not keep
    apart. The layers of a scope with a float layer in it all stay float.
    """

    kind: str
    scope: str
    weight: Any


def with_precision(
    content: bytes, model: nn.Module, example: tuple[Tensor, ...], scheme: Scheme
) -> tuple[bytes, Mapping[str, str | int]]:
    """The float file's content at `scheme`, and the facts of it.

    Raises `Unsupported` where no layer is left, or a weight is beyond float16.
    """
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.recipe_manager import RecipeManager

    if scheme.precision == "fp16":
        check_half(model, kept_fp32(model))
    layers = layers_of(model, example, scheme)
    recipe = RecipeManager()
    owners = _owners(model, layers, _operations(content))
    left = {operation.scope for operation, path in owners if path not in layers.chosen}
    done, dynamic, four = set[str](), 0, 0
    for operation, path in owners:
        if operation.scope not in left:
            done.add(path)
            integer = operation.kind == LINEAR and scheme.precision in ("w8dyn", "w4")
            dynamic += integer
            four += _add(recipe, qtyping, scheme, operation, integer)
    if not done:
        raise LoweringFailed("None of the network's weights was found in the .tflite file.")
    tool = quantizer.Quantizer(bytearray(content))
    tool.load_quantization_recipe(recipe.get_quantization_recipe())
    result = tool.quantize(enable_progress_bar=False, enable_progress_report=False)
    total = len(layers.chosen) + len(layers.floats)
    facts: dict[str, str | int] = {**counted(len(done), total - len(done))}
    if scheme.precision == "w4":
        facts["four_bit_layers"] = four
    if scheme.precision == "w8dyn":
        facts["dynamic_layers"] = dynamic
    return bytes(result.quantized_model), facts


def _add(recipe: Any, words: Any, scheme: Scheme, layer: Operation, dynamic: bool) -> int:
    """One operation's line of the recipe, its product integer or float; returns whether it has
    4-bit weights.
    """
    operation = words.TFLOperationName(KINDS[layer.kind])
    scope = f"^{re.escape(layer.scope)}$"
    four = dynamic and scheme.precision == "w4" and layer.weight.shape[-1] % GROUP == 0
    if scheme.precision == "fp16":
        recipe.add_weight_only_config(
            scope, operation, 16, words.QuantGranularity.TENSORWISE, "float_casting"
        )
    elif four:
        recipe.add_dynamic_config(scope, operation, 4, words.QuantGranularity.BLOCKWISE_32)
    elif dynamic:
        recipe.add_dynamic_config(scope, operation, 8)
    else:
        recipe.add_weight_only_config(scope, operation, 8)
    return int(four)


def _owners(
    model: nn.Module, layers: Layers, operations: list[Operation]
) -> list[tuple[Operation, str]]:
    """Each operation with the module path of its layer; what is no layer's is left out."""
    known = fingerprints(model, Layers((*layers.chosen, *layers.floats), ()))
    known |= fingerprints(model, Layers(layers.floats, ()))  # a weight of both stays float
    found = [(operation, known.get(fingerprint(operation.weight))) for operation in operations]
    free = {
        path: module.weight.detach().numpy()
        for path in known.values()
        if isinstance(module := model.get_submodule(path), nn.Linear)
        and path not in {path for _, path in found}
    }
    owners = []
    for operation, path in found:
        if path is None and operation.kind == LINEAR:
            path = next((p for p, own in free.items() if scaled(own, operation.weight)), None)
        if path is not None:
            owners.append((operation, path))
    return owners


def scaled(own: Any, found: Any) -> bool:
    """Whether `found` is W diag(gamma): the converter folds the gain of a norm in front of a linear
    layer into its weight, so that columns keep their directions alone.
    """
    if own.shape != found.shape:
        return False
    lengths = np.linalg.norm(own, axis=0) * np.linalg.norm(found, axis=0)
    products = np.abs((own * found).sum(axis=0))
    return bool((products >= lengths * (1 - 1e-4)).all())


def _operations(content: bytes) -> list[Operation]:
    """Every operation of a layer's kind with a constant weight."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content), 0))
    graph = model.subgraphs[0]
    numbers = {getattr(schema.BuiltinOperator, kind): kind for kind in KINDS}
    found = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = numbers.get(max(code.builtinCode, code.deprecatedBuiltinCode))
        if kind is None:
            continue
        tensor = graph.tensors[operator.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.type != schema.TensorType.FLOAT32:
            continue
        names = [graph.tensors[index].name.decode() for index in operator.outputs]
        weight = np.frombuffer(bytes(data), np.float32).reshape(tensor.shape)
        found.append(Operation(kind, "".join(f"{name};" for name in names), weight))
    return found
