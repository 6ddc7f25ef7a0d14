"""A network in torch whose layers can be made integer one by one: for sensitivity and training.

The numbers are those of `graph.quantize`, rounded and clipped in float (fake quantization), so that
a layer is switched without capturing or calibrating anew, and gradients pass straight through.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import ObserverBase

from edgevit_export.errors import Unsupported
from edgevit_export.quantization.graph import calibrated
from edgevit_export.quantization.paths import DECONV, layer_path
from edgevit_export.quantization.places import FOLDED
from edgevit_export.quantization.styles import Style
from edgevit_export.scheme import Scheme


class Switch(nn.Module):
    """Rounds what passes to 8 bits where it is on.

    Scales of weights follow the weights, as those of a file written from them will; scales of
    activations stay as they were calibrated.
    """

    def __init__(self, observer: ObserverBase) -> None:
        super().__init__()
        self.on = False
        self.low, self.high = int(observer.quant_min), int(observer.quant_max)
        self.axis = getattr(observer, "ch_axis", None)
        self.smallest = float(observer.eps)
        scale, zero = observer.calculate_qparams()
        self.register_buffer("scale", scale.detach().float())
        self.register_buffer("zero", zero.detach().to(torch.int32))
        self.scale: Tensor
        self.zero: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        if not self.on:
            return x
        if self.axis is None:
            return torch.fake_quantize_per_tensor_affine(
                x, self.scale, self.zero, self.low, self.high
            )
        others = [dim for dim in range(x.ndim) if dim != self.axis]
        scale = (x.detach().abs().amax(dim=others) / self.high).clamp_min(self.smallest)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            x, scale, zero, self.axis, self.low, self.high
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer that may be integer."""

    path: str  # of its module
    macs: int  # multiplications of one forward
    switches: tuple[Switch, ...]  # of its input, weight and output


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """The network's graph and its layers, all float at first."""

    graph: GraphModule
    layers: tuple[Layer, ...]

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The network's outputs as a tuple."""
        out = self.graph(*inputs)
        return out if isinstance(out, tuple) else (out,)

    @contextmanager
    def integer(self, paths: Iterable[str]) -> Iterator[None]:
        """Make these layers integer, and no others, in the block."""
        chosen = set(paths)
        for layer in self.layers:
            for switch in layer.switches:
                switch.on = False
        for layer in self.layers:
            if layer.path in chosen:
                for switch in layer.switches:
                    switch.on = True
        try:
            yield
        finally:
            for layer in self.layers:
                for switch in layer.switches:
                    switch.on = False


@torch.no_grad()
def simulate(
    model: nn.Module,
    example: tuple[Tensor, ...],
    scheme: Scheme,
    style: Style,
    samples: Iterable[tuple[Tensor, ...]],
) -> Simulation:
    """Calibrate a network once and return it with a switch a layer; raises as `graph.quantize`."""
    graph = calibrated(model, example, scheme, style, samples)
    switches: dict[str, Switch] = {}
    for name, module in list(graph.named_modules()):
        if isinstance(module, ObserverBase):
            switches[name] = Switch(module)
            graph.set_submodule(name, switches[name])
    graph.recompile()
    layers = tuple(_layers(graph, switches))
    if not layers:
        raise Unsupported("No layer of the network is left to be quantized.")
    return Simulation(graph, layers)


def _layers(graph: GraphModule, switches: Mapping[str, Switch]) -> Iterator[Layer]:
    for node in graph.graph.nodes:
        weight = node.args[1] if len(node.args) > 1 else None
        if not (isinstance(weight, Node) and weight.op == "call_module"):
            continue
        path = layer_path(node, observed=True)
        if path is None:
            continue
        around = [node.args[0], weight, *_after(node)]
        found = tuple(
            switches[str(n.target)]
            for n in around
            if isinstance(n, Node) and n.op == "call_module" and str(n.target) in switches
        )
        yield Layer(path, _macs(node), found)


def _after(node: Node) -> Iterator[Node]:
    for reader in node.users:
        yield from _after(reader) if reader.target in FOLDED else (reader,)


def _macs(node: Node) -> int:
    kernel = _observed(node.args[1])
    # Of a transposed convolution every input meets the kernel, of the others every output.
    ends = _observed(node.args[0]) if node.target is DECONV else tuple(node.meta["val"].shape)
    return math.prod(ends) * math.prod(kernel[1:])


def _observed(observer: object) -> tuple[int, ...]:
    """The shape of what an observer sees."""
    assert isinstance(observer, Node)
    source = observer.args[0]
    assert isinstance(source, Node)
    return tuple(source.meta["val"].shape)
