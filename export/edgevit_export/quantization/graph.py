"""quantize: a network and calibration samples become one graph with quantize and dequantize steps.

The same graph in torch, ONNX, ExecuTorch and LiteRT computes the same integers: what is measured on
it in torch is what the files do, but for roundings that fall on the other side (28 to 40 dB).
"""

import math
import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg
from torchao.quantization.pt2e import ObserverBase, allow_exported_model_train_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgevit_export.capture import capture
from edgevit_export.errors import BadCalibration
from edgevit_export.quantization.layers import check_finite, counted, kept_fp32, nothing_left
from edgevit_export.quantization.observers import seen_range
from edgevit_export.quantization.paths import layer_paths, separate_biases
from edgevit_export.quantization.places import Places
from edgevit_export.quantization.styles import Style
from edgevit_export.quiet import quiet
from edgevit_export.scheme import KEEPS_FP32, Scheme

COUNTS = "edgevit_layers"  # in the meta of a quantized graph
DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor.default"


@torch.no_grad()
def calibrated(
    model: nn.Module,
    example: tuple[Tensor, ...],
    scheme: Scheme,
    style: Style,
    samples: Iterable[tuple[Tensor, ...]],
) -> GraphModule:
    """The network's graph with an observer at every place, which has seen `samples`.

    `samples` are inputs as `example`, float32, one at a time. Raises `Unsupported` where no layer
    is left to quantize, `BadCalibration` without samples, on values that are not finite, and on
    weights that are not. `layer_counts` tells of the result how many layers are integer.
    """
    check_finite(model)
    program = capture(model, example)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchao's and torch's own deprecations
        places = Places(scheme, style)
        captured = separate_biases(program.module())
        layers = layer_paths(list(captured.graph.nodes))
        graph: GraphModule = prepare_pt2e(captured, places)
    if not places.quantized:
        raise nothing_left()
    count = 0
    for sample in samples:
        _observe(graph, sample, example)
        count += 1
    if not count:
        raise BadCalibration("There are no calibration samples.")
    _check_ranges(graph)
    quantized = len(set(places.quantized))
    graph.meta[COUNTS] = counted(quantized, len(set(layers)) - quantized)
    graph.meta[KEEPS_FP32] = kept_fp32(model)
    return graph


@torch.no_grad()
def quantize(
    model: nn.Module,
    example: tuple[Tensor, ...],
    scheme: Scheme,
    style: Style,
    samples: Iterable[tuple[Tensor, ...]],
) -> GraphModule:
    """The network's graph with integers where `places` puts them, ranges from `samples`; raises as
    `calibrated`.
    """
    graph = calibrated(model, example, scheme, style, samples)
    carried = {key: graph.meta[key] for key in (COUNTS, KEEPS_FP32)}
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted: GraphModule = convert_pt2e(graph, fold_quantize=style.fold)
        _separate_outputs(converted)
        # A captured program refuses to change its mode, and what exports it next asks it to.
        allow_exported_model_train_eval(converted)
    # Its own eval switches what dropout and norms do in the graph, and leaves the flags.
    for module in converted.modules():
        module.training = False
    converted.meta.update(carried)
    return converted


def _separate_outputs(graph: GraphModule) -> None:
    """Give an output that is read inside, too, a dequantize step of its own.

    Exporters turn an output from one memory layout to another, and the turned value then reached
    every reader of the step: MViTv2's pyramid did not run in ExecuTorch (XNNPACK's
    channels_last_tagged_reshape_pass.py in executorch 1.5.1), and a map that is flattened, too, was
    turned twice in LiteRT.
    """
    nodes = graph.graph

    def own(value: Node) -> Node:
        if str(value.target) != DEQUANTIZE or len(value.users) == 1:
            return value
        with nodes.inserting_after(value):
            return nodes.node_copy(value)

    output = nodes.output_node()
    output.args = map_arg(output.args, own)
    graph.recompile()


def layer_counts(graph: GraphModule) -> Mapping[str, int]:
    """How many layers of a graph that `quantize` made are integer, and how many float."""
    counts: Mapping[str, int] = graph.meta[COUNTS]
    return counts


def _observe(graph: GraphModule, sample: tuple[Tensor, ...], example: tuple[Tensor, ...]) -> None:
    """Let one sample pass the observers; raises `BadCalibration` where it cannot."""
    shapes, wanted = ([tuple(value.shape) for value in values] for values in (sample, example))
    if shapes != wanted:
        raise BadCalibration(f"A calibration sample has shapes {shapes}, not {wanted}.")
    if not all(torch.isfinite(value).all() for value in sample):
        raise BadCalibration("A calibration sample holds values that are not finite.")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "torch.inf detected")  # a histogram drops such values
            graph(*sample)
    except (RuntimeError, ValueError, AssertionError, UserWarning) as error:  # of observers
        reason = next(iter(str(error).strip().splitlines()), repr(error))
        if "finite" in reason or "torch.inf" in reason:
            reason = "the network's values are not finite"
        raise BadCalibration(f"A calibration sample did not pass the network: {reason}.") from error


def _check_ranges(graph: GraphModule) -> None:
    """Refuse ranges that no integers can cover."""
    for node in graph.graph.nodes:
        if node.op != "call_module":
            continue
        observer = graph.get_submodule(str(node.target))
        if not isinstance(observer, ObserverBase):
            continue
        seen = seen_range(observer)
        if seen is not None and not all(math.isfinite(value) for value in seen):
            raise BadCalibration(
                f"The network's values are not finite on the calibration samples ({node.args[0]})."
            )
