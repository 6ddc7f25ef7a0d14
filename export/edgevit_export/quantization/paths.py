"""The layers of a network or its captured graph, by the paths of the modules that compute them.

A layer is one that a `Linear`, `Conv2d` or `ConvTranspose2d` module computes: products of tables
(pools, resizes) have no module and stay float.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

ATEN = torch.ops.aten
LINEAR = ATEN.linear.default
DECONV = ATEN.conv_transpose2d.input
GROUPS = 6  # place of that argument among those of a transposed convolution
# operation -> dimension of the weight that holds output channels, with groups of one
LAYERS: dict[Any, int] = {LINEAR: 0, ATEN.conv2d.default: 0, DECONV: 1}
MODULES = ("Linear", "Conv2d", "ConvTranspose2d")


def layer_path(node: Node, observed: bool = False) -> str | None:
    """The module path of a layer that may be quantized, else None.

    observed: in a graph whose weights pass observers.
    """
    if node.op != "call_function" or node.target not in LAYERS:
        return None
    stack = list(node.meta.get("nn_module_stack", {}).values())
    if not stack:
        return None
    path, kind = stack[-1]
    name = kind if isinstance(kind, str) else kind.__qualname__
    weight = node.args[1]
    if name.rpartition(".")[2] not in MODULES or not isinstance(weight, Node):
        return None
    if node.target is DECONV and len(node.args) > GROUPS and node.args[GROUPS] != 1:
        return None  # XNNPACK has no scales for the channels of its groups
    return str(path) if weight.op == ("call_module" if observed else "get_attr") else None


def layer_paths(nodes: Sequence[Node]) -> list[str]:
    """Of all layers of a graph, in order."""
    return [path for node in nodes if (path := layer_path(node)) is not None]


@torch.no_grad()
def layers_run(model: nn.Module, example: tuple[Tensor, ...]) -> dict[str, nn.Module]:
    """The layers that one forward runs, in order: those of `layer_paths`, without a capture."""
    paths = {module: path for path, module in model.named_modules() if _is_layer(module)}
    found: dict[str, nn.Module] = {}

    def note(layer: nn.Module, _: object) -> None:
        found.setdefault(paths[layer], layer)

    hooks = [layer.register_forward_pre_hook(note) for layer in paths]
    try:
        model(*example)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_layer(module: nn.Module) -> bool:
    """What `layer_path` asks of a node, of the module that would make it."""
    if type(module).__name__ not in MODULES or "weight" not in module._parameters:
        return False
    if isinstance(module, nn.ConvTranspose2d):
        return module.groups == 1
    # Padding by name is another operation, which no place of integers is known for.
    named = isinstance(getattr(module, "padding", None), str)
    return not named or getattr(module, "padding_mode", "zeros") != "zeros"


def kept_float(path: str, patterns: Iterable[str]) -> bool:
    """Whether a module, or one that it is inside of, matches one of a scheme's `floats`."""
    around = list(accumulate(path.split("."), "{}.{}".format))
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in around)


def separate_biases(graph: GraphModule) -> GraphModule:
    """Give every use of a layer a bias of its own.

    A bias becomes integer with the scale of its layer's input. Where one layer is used twice,
    ExecuTorch 1.5.1 stores the integers of the first use for both (7 dB).
    """
    for node in list(graph.graph.nodes):
        if node.op != "get_attr":
            continue
        uses = [user for user in node.users if user.target in LAYERS and node in user.args[2:3]]
        for number, use in enumerate(uses[1:]):
            name = f"{str(node.target).replace('.', '_')}_{number}"
            graph.register_buffer(name, graph.get_parameter(str(node.target)).detach().clone())
            with graph.graph.inserting_before(use):
                own = graph.graph.get_attr(name)
            own.meta = dict(node.meta)
            use.args = (*use.args[:2], own, *use.args[3:])
    graph.recompile()
    return graph
