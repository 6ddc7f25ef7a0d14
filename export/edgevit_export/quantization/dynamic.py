"""Linear layers with integer weights that XNNPACK multiplies with activations made integer at run
time: torchao's workflow, which ExecuTorch's partitioner takes whole.
"""

import copy
import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgevit_export.errors import Unsupported
from edgevit_export.quantization.layers import Layers, layers_of
from edgevit_export.quiet import quiet
from edgevit_export.scheme import PRECISIONS, Scheme

GROUP = 32  # weights with one scale, of 4-bit layers


def dynamic(
    model: nn.Module, example: tuple[Tensor, ...], scheme: Scheme
) -> tuple[nn.Module, Mapping[str, str | int]]:
    """A copy of the network with w8dyn or w4 linear layers, and the facts of them.

    Activations get a scale and a zero point a token at run time, weights a scale an output channel
    (8 bits), or one for 32 inputs (4 bits; layers whose inputs are no multiple of 32 get 8).
    Convolutions stay float: XNNPACK's kernels with dynamic scales refuse some of TopFormer's when
    they are run. Raises `Unsupported` where no linear layer is left.
    """
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's own deprecations
        from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
        from torchao.quantization.granularity import PerAxis, PerGroup

    layers = linear_layers(model, example, scheme)
    copied = copy.deepcopy(model)
    narrow = narrow_layers(copied, layers) if _bits(scheme) == 4 else frozenset()
    eight = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int8, weight_granularity=PerAxis(0)
    )
    four = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4,  # type: ignore[attr-defined]  # not in torch's stubs
        weight_granularity=PerGroup(GROUP),
    )
    wide = frozenset(layers.chosen) - narrow
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for config, paths in ((eight, wide), (four, narrow)):
            quantize_(copied, config, lambda _, path, paths=paths: path in paths)
    facts: dict[str, str | int] = {**layers.facts}
    if _bits(scheme) == 4:
        facts["four_bit_layers"] = len(narrow)
    return copied, facts


def linear_layers(model: nn.Module, example: tuple[Tensor, ...], scheme: Scheme) -> Layers:
    """The linear layers that a scheme applies to; raises `Unsupported` if there are none."""
    try:
        return layers_of(model, example, scheme, ("Linear",))
    except Unsupported:
        raise Unsupported(
            f"No layer of the network is left to be quantized: {scheme.precision} is for"
            f" linear"
            " layers in this format.",
            next="--precision w8a8",
        ) from None


def narrow_layers(model: nn.Module, layers: Layers) -> frozenset[str]:
    """Paths of the linear layers whose inputs fall into whole groups."""
    linears = {path: model.get_submodule(path) for path in layers.chosen}
    return frozenset(
        path
        for path, layer in linears.items()
        if isinstance(layer, nn.Linear) and layer.in_features % GROUP == 0
    )


def _bits(scheme: Scheme) -> int:
    return PRECISIONS[scheme.precision].weight_bits
