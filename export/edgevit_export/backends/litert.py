"""LiteRT: a .tflite file with channels last at its borders, as its users' pictures come."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgevit_export.artifact import Contents
from edgevit_export.backends.litert_borders import with_float_borders
from edgevit_export.backends.litert_graph import Graph
from edgevit_export.backends.litert_half import allow_half
from edgevit_export.backends.litert_weights import with_precision
from edgevit_export.borders import describe, outputs_of
from edgevit_export.errors import LoweringFailed
from edgevit_export.halves import HALVES
from edgevit_export.names import Names
from edgevit_export.quantization.layers import kept_fp32
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme


def write(
    model: nn.Module, example: tuple[Tensor, ...], names: Names, scheme: Scheme, path: Path
) -> Contents:
    """Write a .tflite file; raises `LoweringFailed`. 4-D inputs and outputs are NHWC in it."""
    if model.training:
        raise LoweringFailed("The network is in training mode; call .eval() before exporting it.")
    outputs = outputs_of(model, example)
    pictures = [i for i, value in enumerate(example) if value.ndim == 4]
    maps = [i for i, value in enumerate(outputs) if value.ndim == 4]
    last = tuple(
        value.permute(0, 2, 3, 1).contiguous() if i in pictures else value
        for i, value in enumerate(example)
    )
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jax's and litert_torch's own deprecations
        import litert_torch

        wrapped = litert_torch.to_channel_last_io(model, args=pictures, outputs=maps)
        # Into memory first: on a full disk the converter's own writer ends the whole process.
        content = litert_torch.convert(
            wrapped.eval(), last, quant_config=_static() if scheme.calibrated else None
        ).model_content()
        facts: Mapping[str, str | int] = {}
        if not scheme.calibrated and scheme.precision != "fp32":
            content, facts = with_precision(content, model, example, scheme)
    # A .tflite file is computed in halves as a whole, or not at all.
    halves = scheme.precision in HALVES["litert"].precisions and not kept_fp32(model)
    if halves or scheme.calibrated:
        graph = Graph(content)
        with_float_borders(graph)
        if halves:
            allow_half(graph)
            facts = {**facts, **HALVES["litert"].fact}
        content = graph.packed()
    path.write_bytes(content)
    return Contents(
        inputs=describe(names.inputs, example, "NHWC"),
        outputs=describe(names.outputs, outputs, "NHWC"),
        facts=facts,
    )


def _static() -> Any:
    """Tells the converter to fold quantize and dequantize steps into integer operations; where they
    lie is in the graph already, so that its own quantizer here only carries the mode.
    """
    from litert_torch.quantize.pt2e_quantizer import (
        PT2EQuantizer,
        get_symmetric_quantization_config,
    )
    from litert_torch.quantize.quant_config import QuantConfig

    mode = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(mode))
