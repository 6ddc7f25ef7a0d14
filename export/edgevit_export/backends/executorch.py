"""ExecuTorch: a .pte program whose network runs in the XNNPACK delegate."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from edgevit_export.artifact import Contents
from edgevit_export.backends.executorch_half import Halved, partitioner
from edgevit_export.borders import describe, outputs_of
from edgevit_export.capture import capture
from edgevit_export.halves import HALVES
from edgevit_export.names import Names
from edgevit_export.quantization.dynamic import dynamic
from edgevit_export.quantization.layers import kept_fp32, layers_of
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme
from edgevit_export.spellings.spelling import spell
from edgevit_export.spellings.xnnpack import XNNPACK

DYNAMIC = ("w8dyn", "w4")


def write(
    model: nn.Module, example: tuple[Tensor, ...], names: Names, scheme: Scheme, path: Path
) -> Contents:
    """Write a .pte file; raises `LoweringFailed`, and `Unsupported` where no layer is left."""
    facts: dict[str, str | int] = {}
    lowered = model
    if scheme.precision in DYNAMIC:
        lowered, counts = dynamic(model, example, scheme)
        facts.update(counts)
    if scheme.precision == "fp16":
        layers = layers_of(model, example, scheme)
        lowered = Halved(model, kept_fp32(model) | frozenset(layers.floats))
        facts.update({**layers.facts, **HALVES["executorch"].fact})
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # executorch's own deprecations, of torch and of itself
        from executorch.exir import to_edge_transform_and_lower

        program = spell(capture(lowered, example), XNNPACK)
        edge = to_edge_transform_and_lower(program, partitioner=[partitioner()])
        delegates = _delegates(edge.exported_program().graph_module)
        buffer = edge.to_executorch().buffer
    path.write_bytes(buffer)
    outputs = outputs_of(model, example)
    return Contents(
        inputs=describe(names.inputs, example),
        outputs=describe(names.outputs, outputs),
        facts={"delegate": "xnnpack", "delegated_subgraphs": delegates, **facts},
    )


def _delegates(graph: torch.fx.GraphModule) -> int:
    return sum("executorch_call_delegate" in str(node.target) for node in graph.graph.nodes)
