"""Where integers begin and end: the inputs, weights and outputs of linear and convolution layers.

Everything else stays float: residual additions, norms, softmax, GELU and products of attention are
what a vision transformer's int8 breaks at (TinyNeuralNetwork issue 204: 0 % with everything int8,
78.5 of 81.4 % with the additions in float; FQ-ViT table 1).
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from edgevit_export.quantization.observers import KINDS, SMALLEST_SCALE
from edgevit_export.quantization.paths import ATEN, LAYERS, LINEAR, kept_float, layer_path
from edgevit_export.quantization.styles import Style
from edgevit_export.scheme import Scheme

# What a runtime folds into the layer before it, so that its output is the one to quantize.
FOLDED = (ATEN.relu.default, ATEN.relu_.default, ATEN.relu6.default, ATEN.hardtanh.default)
# What only picks among its inputs: between two layers XNNPACK computes it as integers, and a file
# with two scales there cannot be opened.
PICKING = (ATEN.max_pool2d.default,)
# What moves numbers and changes none.
MOVING = (
    ATEN.reshape.default,
    ATEN.view.default,
    ATEN.flatten.using_ints,
    ATEN.unflatten.int,
    ATEN.permute.default,
    ATEN.transpose.int,
    ATEN.slice.Tensor,
    ATEN.contiguous.default,
    ATEN.squeeze.dim,
    ATEN.unsqueeze.default,
)
JOINING = (ATEN.cat.default, ATEN.concat.default)
ANNOTATION = "quantization_annotation"  # torchao's key


class Places(Quantizer):  # type: ignore[misc]  # torchao is untyped
    """Names the places to torchao's prepare_pt2e: around each layer of `paths`."""

    def __init__(self, scheme: Scheme, style: Style) -> None:
        super().__init__()
        low, high, dtype = (0, 255, torch.uint8) if style.unsigned else (-128, 127, torch.int8)
        self.scheme, self.style = scheme, style
        self.quantized: list[str] = []  # module paths, in the order of the graph

        def activation(observer: Any) -> QuantizationSpec:
            return QuantizationSpec(
                dtype=dtype,
                quant_min=low,
                quant_max=high,
                qscheme=torch.per_tensor_affine,
                is_dynamic=False,
                observer_or_fake_quant_ctr=observer.with_args(eps=SMALLEST_SCALE),
            )

        self.read = activation(KINDS[scheme.observer])
        # What nothing but float reads is not clipped: a histogram's search would cut the tails of
        # residual branches, which cost 3 dB in a ViT.
        self.written = activation(MinMaxObserver)

    def annotate(self, graph: GraphModule) -> GraphModule:
        """Mark inputs, weights and outputs of every layer that is to be integer."""
        for node in graph.graph.nodes:
            if node.target in PICKING and all(map(_feeds_layer, node.users)):
                self._share(node)
            if node.target in JOINING and self.style.joined:
                _join(node)
            path = layer_path(node)
            if path is None or kept_float(path, self.scheme.floats):
                continue
            self.quantized.append(path)
            self._mark(node)
        return graph

    def _mark(self, node: Node) -> None:
        picture, weight = node.args[0], node.args[1]
        end = _end(node)
        output = self.written if self.style.linear_outputs or node.target is not LINEAR else None
        node.meta[ANNOTATION] = QuantizationAnnotation(
            input_qspec_map={picture: self.read, weight: _weight_spec(LAYERS[node.target])},
            output_qspec=output if end is node else None,
            _annotated=True,
        )
        if end is not node:
            end.meta[ANNOTATION] = QuantizationAnnotation(output_qspec=output, _annotated=True)

    def _share(self, node: Node) -> None:
        source = node.args[0]
        assert isinstance(source, Node)
        mark = source.meta.get(ANNOTATION)
        if mark is None or mark.output_qspec is None:
            return
        same = SharedQuantizationSpec(source)
        node.meta[ANNOTATION] = QuantizationAnnotation(
            input_qspec_map={source: same}, output_qspec=same, _annotated=True
        )

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: `annotate` marks what it knows alone."""


def _feeds_layer(node: Node) -> bool:
    return node.target in LAYERS or (node.target in FOLDED and all(map(_feeds_layer, node.users)))


def _join(node: Node) -> None:
    """Give all outputs of layers that a concatenation reads the scale of the first; one that reads
    anything else is computed in float, and asks for nothing.
    """
    read = node.args[0]
    assert isinstance(read, list | tuple)
    ends = [_moved(source) for source in read if isinstance(source, Node)]
    marks = [end.meta.get(ANNOTATION) for end in ends]
    if any(mark is None or mark.output_qspec is None for mark in marks):
        return
    first, *others = dict.fromkeys(ends)
    for end in others:
        end.meta[ANNOTATION].output_qspec = SharedQuantizationSpec(first)


def _moved(node: Node) -> Node:
    """Where the numbers of a node were computed."""
    while node.target in MOVING and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _end(node: Node) -> Node:
    """The layer, or the activation behind it that a runtime computes with it."""
    readers = list(node.users)
    if len(readers) == 1 and readers[0].target in FOLDED:
        return readers[0]
    return node


def _weight_spec(axis: int) -> QuantizationSpec:
    """Symmetric, a scale an output channel; -128 is left out as every runtime's kernels want."""
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=axis,
        is_dynamic=False,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=SMALLEST_SCALE),
    )
