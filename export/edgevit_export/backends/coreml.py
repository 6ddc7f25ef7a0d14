"""Core ML: an .mlpackage with an ML program, float32 at its borders, written without anything of
this machine.

All precisions but fp32 compute in float16, as the Neural Engine does. No file of reduced precision
can be executed away from macOS: what is known of them here is what a reader sees.
"""

import json
import shutil
import tempfile
import uuid
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgevit_export.artifact import Contents
from edgevit_export.backends.coreml_weights import COMPRESSED, compressed
from edgevit_export.borders import describe, outputs_of
from edgevit_export.capture import capture
from edgevit_export.errors import Unsupported
from edgevit_export.names import Names
from edgevit_export.quantization.layers import check_half, kept_fp32, layers_of
from edgevit_export.quantization.paths import kept_float
from edgevit_export.quiet import quiet
from edgevit_export.scheme import KEEPS_FP32, Scheme

NAMESPACE = uuid.UUID("5b1f3a52-8f4e-5a41-9a55-0f6f3c1f0d3e")  # of the item names in our manifests

MOST_DIMENSIONS = 5  # of a tensor of an ML program
DATE = "com.github.apple.coremltools.conversion_date"
# precision -> the oldest systems with its operations; all others run since iOS 16
TARGETS = {"w8a8": "iOS17, macOS14", "mixed": "iOS17, macOS14", "w4": "iOS18, macOS15"}
OLDEST = "iOS16, macOS13"
NOT_RUN = "written only: Core ML runs on macOS and iOS alone"


def write(
    model: nn.Module, example: tuple[Tensor, ...], names: Names, scheme: Scheme, path: Path
) -> Contents:
    """Write an .mlpackage directory; raises `LoweringFailed`, and `Unsupported` on a tensor of more
    than five dimensions, on weights beyond float16, and where no layer is left to compress.
    """
    half = scheme.precision != "fp32"
    if half:
        check_half(model, _floats(model, scheme))
    layers = layers_of(model, example, scheme) if scheme.precision in COMPRESSED else None
    target = TARGETS.get(scheme.precision, OLDEST)
    facts: dict[str, str | int] = {
        "minimum_target": target,
        "compute_precision": "fp16" if half else "fp32",
    }
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coremltools warns of every untested torch version
        import coremltools as ct

        program = _without_aliases(capture(model, example).run_decompositions({}))
        precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
        if half and _mark_fp32(program, _floats(model, scheme)):
            precision = ct.transform.FP16ComputePrecision(op_selector=_half)
        converted = ct.convert(
            program,
            source="pytorch",
            convert_to="mlprogram",
            inputs=[
                ct.TensorType(name=name, shape=tuple(value.shape), dtype=np.float32)
                for name, value in zip(names.inputs, example, strict=True)
            ],
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in names.outputs],
            compute_precision=precision,
            minimum_deployment_target=ct.target[target.partition(",")[0]],
            skip_model_load=True,
        )
        if layers is not None:
            converted, counts = compressed(converted, program, model, layers, scheme)
            facts |= counts
        _check_ranks(converted.get_spec().mlProgram)
        with tempfile.TemporaryDirectory() as scratch:
            saved = Path(scratch) / "model.mlpackage"
            converted.save(str(saved))
            _name_items(saved)
            _anonymous(saved)
            shutil.copytree(saved, path)
    if scheme.precision not in ("fp32", "fp16"):
        facts["executed"] = NOT_RUN
    outputs = outputs_of(model, example)
    return Contents(
        inputs=describe(names.inputs, example, dtype="float32"),
        outputs=describe(names.outputs, outputs, dtype="float32"),
        facts=facts,
    )


def _floats(model: nn.Module, scheme: Scheme) -> frozenset[str]:
    """Paths of the modules that compute in float32 in files of half precision.

    `floats` of other schemes say which weights are left alone; their products are float16, as those
    of every other layer.
    """
    kept = kept_fp32(model)
    if scheme.precision != "fp16":
        return kept
    return kept | {name for name, _ in model.named_modules() if kept_float(name, scheme.floats)}


def _mark_fp32(program: ExportedProgram, kept: frozenset[str]) -> int:
    """Mark what modules of these paths compute; returns how many operations that are.

    The mark takes the place of the stack trace, which coremltools carries through all its passes.
    """
    marked = 0
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack", {})
        if any(path in kept for path, _ in stack.values()):
            node.meta["stack_trace"] = KEEPS_FP32
            marked += 1
    return marked


def _half(operation: Any) -> bool:
    """Whether coremltools may compute an operation in float16."""
    from coremltools.converters.mil.mil.scope import ScopeSource

    return KEEPS_FP32 not in operation.scopes[ScopeSource.EXIR_STACK_TRACE]


def _check_ranks(program: Any) -> None:
    """Raise `Unsupported` where a tensor has more dimensions than Core ML runs."""
    for function in program.functions.values():
        for block in function.block_specializations.values():
            for operation in block.operations:
                rank = max((out.type.tensorType.rank for out in operation.outputs), default=0)
                if rank > MOST_DIMENSIONS:
                    raise Unsupported(
                        f"The network's {operation.type} has {rank} dimensions, and Core ML takes"
                        f" {MOST_DIMENSIONS} at most.",
                        next="export with the rewrites (without --no-reparameterize)",
                    )


def _without_aliases(program: ExportedProgram) -> ExportedProgram:
    """Drop aten.alias and aten.detach: coremltools does not know them, they compute nothing."""
    graph = program.graph_module.graph
    nothing = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in nothing:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


def _name_items(package: Path) -> None:
    """Name the manifest's items by their paths: coremltools draws them at random."""
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    renamed = {
        old: str(uuid.uuid5(NAMESPACE, item["path"])).upper()
        for old, item in content["itemInfoEntries"].items()
    }
    content["itemInfoEntries"] = {
        renamed[old]: item for old, item in content["itemInfoEntries"].items()
    }
    content["rootModelIdentifier"] = renamed[content["rootModelIdentifier"]]
    manifest.write_text(json.dumps(content, indent=4, sort_keys=True) + "\n")


def _anonymous(package: Path) -> None:
    """Take the date out, and write maps in key order: protobuf's own changes from run to run."""
    from coremltools.proto import Model_pb2

    program = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    model = Model_pb2.Model.FromString(program.read_bytes())
    model.description.metadata.userDefined.pop(DATE, None)
    program.write_bytes(model.SerializeToString(deterministic=True))
    # A map from our graph's nodes to executorch's debugger, which nobody has.
    (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
