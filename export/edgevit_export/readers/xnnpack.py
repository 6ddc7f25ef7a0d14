"""XNNPACK in an ExecuTorch program: what is inside its payloads, and why an operation is not.

Sources, of executorch 1.5.1: backends/xnnpack/serialization/schema.fbs and
xnnpack_graph_serialize.py for the payload, backends/xnnpack/partition/config/*.py for what the
partitioner takes and on which conditions.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit_export.readers.flatbuffer import Data, Window
from edgevit_export.readers.source import MalformedError, add

VERSION = "1.5.1"  # of executorch, that the tables below were read from

# XNodeUnion of schema.fbs; its numbers start at 1.
NODES = (
    "XNNAdd", "XNNFullyConnected", "XNNSoftmax", "XNNSigmoid", "XNNStaticTranspose", "XNNClamp",
    "XNNConv2d", "XNNDiv", "XNNStaticResizeBilinear2D", "XNNStaticConstantPad", "XNNAvgPooling2d",
    "XNNMinimum", "XNNDepthwiseConv2d", "XNNMaxPooling2d", "XNNMultiply", "XNNSubtract", "XNNFloor",
    "XNNConvert", "XNNGlobalAvgPooling2d", "XNNStaticReshape", "XNNArgMaxPooling2d",
    "XNNSquareRoot", "XNNCeiling", "XNNHardswish", "XNNLeakyReLU", "XNNMaximum", "XNNNegate",
    "XNNSquare", "XNNELU", "XNNAbs", "XNNPReLU", "XNNConcatenate2", "XNNConcatenate3",
    "XNNConcatenate4", "XNNStaticSlice", "XNNScaledDotProductAttention", "XNNBatchMatrixMultiply",
    "XNNConcatenate5", "XNNConvTranspose2d", "XNNReciprocalSquareRoot", "XNNLog", "XNNGelu",
    "XNNTanh", "XNNExp", "XNNSin", "XNNCopy", "XNNCos",
)  # fmt: skip

# Every target the partitioner takes, with the condition its config sets; all want float tensors.
TAKEN: Mapping[str, str] = MappingProxyType(
    {
        "abs.default": "",
        "add.Tensor": "alpha must be 1",
        "addmm.default": "the weight must be a constant",
        "avg_pool2d.default": "no ceil_mode, no counted padding, no divisor override",
        "_native_batch_norm_legit_no_training.default": "it must fold into a layer or decompose",
        "bmm.default": "",
        "cat.default": "it must join at least two tensors",
        "ceil.default": "",
        "clone.default": "it must keep the order of dimensions in memory",
        "_clone_dim_order.default": "it must keep the order of dimensions in memory",
        "constant_pad_nd.default": "padding must not be negative",
        "convolution.default": "the weight must be a constant, and the convolution 1-D or 2-D",
        "clamp.default": "",
        "div.Tensor": "",
        "exp.default": "",
        "floor.default": "",
        "gelu.default": "its tensors must not be float16",
        "hardtanh.default": "",
        "hardswish.default": "",
        "leaky_relu.default": "",
        "linear.default": "the weight must be a constant",
        "log.default": "",
        "max.dim": "the input must be 4-D and the indices unused",
        "maximum.default": "",
        "max_pool2d.default": "the stride must not exceed the window",
        "mean.dim": "it must average the last two dimensions of a 4-D tensor with keepdim",
        "minimum.default": "",
        "mm.default": "the weight must be a constant",
        "mul.Tensor": "",
        "neg.default": "",
        "permute_copy.default": "",
        "pow.Tensor_Scalar": "the exponent must be the integer 2",
        "prelu.default": "the weight must be a constant",
        "rsqrt.default": "",
        "relu.default": "",
        "tanh.default": "",
        "_to_dim_order_copy.default": "it must not convert the data type",
        "sigmoid.default": "",
        "sin.default": "",
        "cos.default": "",
        "slice_copy.Tensor": "the stride must be 1 and no dimension empty",
        "_softmax.default": "it must run over the last dimension",
        "sqrt.default": "",
        "sub.Tensor": "alpha must be 1",
        "unsqueeze_copy.default": "the new dimension must be the last one",
        "upsample_bilinear2d.vec": "the output size must be fixed",
        "view_copy.default": "the new shape must be fixed",
        "quantize_per_tensor.default": "",
        "dequantize_per_tensor.default": "",
        "quantize_affine.default": "",
        "dequantize_affine.default": "",
        "choose_qparams_affine.default": "",
    }
)

# Operations of vision transformers without any config, by base name, and what to write instead.
NOT_TAKEN: Mapping[str, str] = MappingProxyType(
    {
        "native_layer_norm": "the partitioner has no layer normalization",
        "native_group_norm": "the partitioner has no group normalization",
        "expand_copy": (
            "no broadcasting copy is taken; a 3-D bmm needs none where a 4-D matmul does"
        ),
        "squeeze_copy": "no squeeze is taken; a view of fixed shape is",
        "_adaptive_avg_pool2d": "no adaptive pooling is taken; avg_pool2d with a fixed window is",
        "select_copy": "no select is taken; a slice and a view are",
        "split_with_sizes_copy": "no split is taken; slices are",
        "split_copy": "no split is taken; slices are",
        "upsample_nearest2d": "XNNPACK's resize is bilinear only",
        "elu": "the partitioner's config for elu is switched off",
        "argmax": "XNNPACK gives values only, never indices",
        "index": "XNNPACK has no gathering by index",
        "gather": "XNNPACK has no gathering by index",
        "embedding": "XNNPACK has no gathering by index",
    }
)  # fmt: skip

# Where an operator of the program has another name than the edge operation the partitioner saw.
RENAMED: Mapping[str, str] = MappingProxyType({"et_view": "view_copy"})


@dataclass(frozen=True, slots=True)
class Payload:
    """One XNNPACK subgraph: node counts, bytes of its own constants, names of those it shares."""

    ops: Mapping[str, int]
    constant_bytes: int
    shared: frozenset[str]


def read_payload(data: Data, start: int, size: int) -> Payload:
    """What one delegate payload at `start` holds, `size` bytes long; raises `MalformedError`."""
    constants_start, constants_size = 0, 0
    magic = data[start + 4 : start + 8]
    if magic == b"XH00":
        if size < 30:
            raise MalformedError("an XNNPACK payload is shorter than its header")
        offset, length, constants_start, constants_size = struct.unpack_from(
            "<IIIQ", data, start + 10
        )
        if offset + length > size or constants_start + constants_size > size:
            raise MalformedError("an XNNPACK payload is shorter than its header says")
        window = Window(data, start + offset, length)
    else:
        window = Window(data, start, size)
    if window.identifier() not in (b"XN00", b"XN01"):
        raise MalformedError("an XNNPACK payload has an unknown schema")
    graph = window.root()
    ops: dict[str, int] = {}
    for node in graph.tables(1):
        number = node.integer(0, "B")
        add(ops, NODES[number - 1] if 0 < number <= len(NODES) else f"XNNPACK node {number}")
    carried, shared = 0, set[str]()
    for constant in graph.tables(8):
        name = constant.text(2)
        length = constant.integer(1, "Q")
        if name:
            shared.add(name)
        elif constant.integer(0, "Q") + length > constants_size:
            raise MalformedError("an XNNPACK constant lies outside of its payload")
        else:
            carried += length
    return Payload(ops=ops, constant_bytes=carried, shared=frozenset(shared))


def reason_left_out(name: str, overload: str, dtypes: frozenset[str]) -> str:
    """Why an operator of a program is not in an XNNPACK subgraph.

    `dtypes` are those of its tensors. What the file cannot tell is said plainly.
    """
    base = name.rpartition("::")[2].partition(".")[0]
    base = RENAMED.get(base, base)
    if base in NOT_TAKEN:
        return NOT_TAKEN[base]
    targets = [target for target in _targets(base, overload) if target in TAKEN]
    if not targets:
        return f"not in the XNNPACK partitioner's list of executorch {VERSION}"
    wrong = sorted(dtypes - {"float32", "float16"})
    if wrong and not base.endswith(("quantize_per_tensor", "_affine")):
        return f"it works on {', '.join(wrong)}; the partitioner takes float32 and float16 only"
    if TAKEN[targets[0]]:
        return f"taken on a condition only: {TAKEN[targets[0]]}"
    return "in the partitioner's list; the file does not tell why it was left out"


def _targets(base: str, overload: str) -> tuple[str, ...]:
    """Edge operations that an out-variant of a program may come from."""
    if overload == "out":
        return f"{base}.default", f"{base}.Tensor", f"{base}.dim"
    if overload == "dim_max":
        return (f"{base}.dim",)
    return (f"{base}.{overload.removesuffix('_out') or 'default'}",)
