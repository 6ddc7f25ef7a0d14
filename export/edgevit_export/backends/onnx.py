"""ONNX: one self-contained file, simplified, without the exporter's traces of this machine."""

import os
import warnings
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything loads onnxruntime

import onnx
import onnx_ir as ir
import onnxsim
import torch
from onnx import ModelProto
from torch import Tensor, nn

from edgevit_export.artifact import Contents, TensorSpec
from edgevit_export.backends.onnx_precisions import weight_owners, with_precision
from edgevit_export.backends.onnx_weights import integer_biases, transpose_weights
from edgevit_export.capture import capture
from edgevit_export.errors import LoweringFailed, Unsupported
from edgevit_export.names import Names
from edgevit_export.quiet import quiet
from edgevit_export.scheme import OPSETS, Scheme

# onnxsim's rewrite that makes one product of those which read the same: a weight that is no layer's
# any more stays float. Float files gain nothing by it (MViTv2, ONNX Runtime on x86: 4.04 and 3.93
# ms, 117 and 114 ms without it, on a machine that was not idle).
JOINING = ["fuse_qkv"]


def write(
    model: nn.Module, example: tuple[Tensor, ...], names: Names, scheme: Scheme, path: Path
) -> Contents:
    """Write an .onnx file; raises `LoweringFailed`."""
    oldest, newest = OPSETS
    if not oldest <= scheme.opset <= newest:
        raise Unsupported(
            f"ONNX opset {scheme.opset} is outside {oldest} to {newest}.",
            next=f"--opset {oldest}",
        )
    program = capture(model, example)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        exported = torch.onnx.export(
            program,
            example,
            dynamo=True,
            opset_version=scheme.opset,
            input_names=list(names.inputs),
            output_names=list(names.outputs),
        )
        if exported is None:
            raise LoweringFailed("torch.onnx.export returned nothing.")
        simplified, same = onnxsim.simplify(exported.model_proto, skipped_optimizers=JOINING)
    if not same:
        raise LoweringFailed("onnxsim's own check found that its simplified graph differs.")
    proto = _anonymous(simplified)
    facts: dict[str, str | int] = {}
    if scheme.calibrated:
        proto = _with_integers(proto)
    elif scheme.precision != "fp32":
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of onnxruntime's tools
            owners = weight_owners(exported.model, simplified)
            proto, counts = with_precision(proto, owners, model, example, scheme)
        proto, facts = _anonymous(proto), {**counts}
    opset = next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx"))
    if opset != scheme.opset:
        raise LoweringFailed(
            f"The exporter wrote opset {opset} where {scheme.opset} was asked for."
        )
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return Contents(
        inputs=tuple(_spec(value) for value in proto.graph.input),
        outputs=tuple(_spec(value) for value in proto.graph.output),
        facts={"opset": opset, "ir_version": proto.ir_version, **facts},
    )


def _with_integers(proto: ModelProto) -> ModelProto:
    """The graph of a static precision with its weights and biases as the runtime reads them."""
    model = ir.from_proto(proto)
    transpose_weights(model)
    integer_biases(model)
    edited = ir.to_proto(model.graph)
    # onnx_ir drops empty doc_strings, which have two bytes each; so files keep those they had.
    before = {node.name for node in proto.graph.node}
    for node in edited.node:
        if node.name in before:
            node.doc_string = ""
    del proto.graph.node[:], proto.graph.initializer[:]
    proto.graph.node.extend(edited.node)
    proto.graph.initializer.extend(edited.initializer)
    return proto


def _anonymous(proto: ModelProto) -> ModelProto:
    """Drop stack traces, file paths and doc strings: they are of the exporting machine, not of the
    network.
    """
    clean = ModelProto()
    clean.CopyFrom(proto)
    clean.doc_string = ""
    clean.producer_name, clean.producer_version = "edgevit", ""
    del clean.metadata_props[:]
    graph = clean.graph
    graph.doc_string = ""
    graph.name = "network"
    del graph.metadata_props[:]
    del graph.value_info[:]
    for entry in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        entry.doc_string = ""
        del entry.metadata_props[:]
    return clean


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(d.dim_value for d in tensor.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(value.name, shape, dtype, "NCHW" if len(shape) == 4 else "any")
