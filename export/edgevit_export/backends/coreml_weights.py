"""Compressed weights of an ML program, by coremltools.optimize; products stay in float.

w8      int8 weights, a scale an output channel (iOS 16)
w4      linear layers in 4 bits, a scale for 32 inputs; all other layers in 8 bits a channel, and
        linear ones whose inputs are no multiple of 32 (iOS 18, the first with blocks)
p6, p4  64 or 16 values a tensor, found by k-means, and indices of them (iOS 16)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from torch.export import ExportedProgram

from edgevit_export.errors import LoweringFailed
from edgevit_export.quantization.dynamic import GROUP, narrow_layers
from edgevit_export.quantization.layers import Layers, counted
from edgevit_export.scheme import PRECISIONS, Scheme

HALF = "_to_fp16"  # what coremltools adds to the name of a constant that it stores as float16
LINEAR, PALETTE = ("w8", "w4"), ("p6", "p4")
COMPRESSED = (*LINEAR, *PALETTE)


def compressed(
    converted: Any, program: ExportedProgram, model: nn.Module, layers: Layers, scheme: Scheme
) -> tuple[Any, Mapping[str, str | int]]:
    """The converted model with the weights of `layers` compressed, and the facts of it."""
    import coremltools.optimize.coreml as optimize

    present = {
        operation.name
        for operation in converted._mil_program.functions["main"].operations
        if operation.op_type == "const"
    }
    narrow = narrow_layers(model, layers)
    configs: dict[str, Any] = {}
    done: set[str] = set()
    for name, path in _constants(program, model, layers).items():
        for constant in {name, f"{name}{HALF}"} & present:
            configs[constant] = _config(optimize, scheme, path in narrow)
            done.add(path)
    if not done:
        raise LoweringFailed("None of the network's weights was found in the ML program.")
    compress = (
        optimize.palettize_weights
        if scheme.precision in PALETTE
        else optimize.linear_quantize_weights
    )
    config = optimize.OptimizationConfig(op_name_configs=configs)
    total = len(layers.chosen) + len(layers.floats)
    facts: dict[str, str | int] = {**counted(len(done), total - len(done))}
    if scheme.precision == "w4":
        facts["four_bit_layers"] = len(done & narrow)
    return compress(converted, config), facts


def _config(optimize: Any, scheme: Scheme, narrow: bool) -> Any:
    if scheme.precision in PALETTE:
        values = 1 << PRECISIONS[scheme.precision].weight_bits
        return optimize.OpPalettizerConfig(
            mode="custom",
            lut_function=lambda weight: palette(weight, values),
            weight_threshold=0,
        )
    if scheme.precision == "w4" and narrow:
        return optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric",
            dtype="int4",
            granularity="per_block",
            block_size=GROUP,
            weight_threshold=0,
        )
    return optimize.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int8", granularity="per_channel", weight_threshold=0
    )


def palette(weight: Any, size: int) -> tuple[Any, Any]:
    """The `size` values with the least squared error to a weight's, and each element's index.

    In one dimension k-means has an exact solution (Grønlund et al. 2017, arXiv:1701.07204), which
    coremltools brings. Its own mode "kmeans" takes scikit-learn's approximation for small tensors.
    """
    from coremltools._deps import kmeans1d

    values, indices, counts = np.unique(
        np.asarray(weight, np.float64), return_inverse=True, return_counts=True
    )
    found = kmeans1d.cluster(values, min(len(values), size), weights=counts)
    table = np.zeros(size, weight.dtype)  # a palette has all its places, used or not
    table[: len(found.centroids)] = found.centroids
    places = np.asarray(found.clusters, np.uint8)[indices.ravel()]
    return table, places.reshape(weight.shape)


def _constants(program: ExportedProgram, model: nn.Module, layers: Layers) -> dict[str, str]:
    """Name of a captured program's constant -> path of the chosen layer that has it as weight.

    coremltools keeps these names. A weight that a float layer has too is in no entry.
    """
    owners = {id(model.get_submodule(path).weight): path for path in layers.chosen}
    for path in layers.floats:
        owners.pop(id(model.get_submodule(path).weight), None)
    tensors: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    signature = program.graph_signature
    known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {
        name: owners[id(tensors[target])]
        for name, target in known.items()
        if target in tensors and id(tensors[target]) in owners
    }
