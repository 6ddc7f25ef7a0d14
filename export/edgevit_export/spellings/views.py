"""Views of views: what spellings leave between products, of which a delegate would copy each."""

import math
from typing import Any

import torch
from torch.export.graph_signature import ExportGraphSignature
from torch.fx import Graph, Node

ATEN = torch.ops.aten
RESHAPE = ATEN.reshape.default
VIEWS = (
    RESHAPE,
    ATEN.view.default,
    ATEN.flatten.using_ints,
    ATEN.unflatten.int,
    ATEN.squeeze.default,
    ATEN.squeeze.dim,
    ATEN.squeeze.dims,
    ATEN.unsqueeze.default,
)


def join_views(graph: Graph, signature: ExportGraphSignature) -> None:
    """A view of a view is a view of its source, and none where it has that shape already.

    A view that makes one dimension of all but the last two goes in front of what works on those
    alone, to meet the views there: fold(x^T) = fold(x)^T, fold(softmax(x)) = softmax(fold(x)).
    """
    for node in list(graph.nodes):
        if node.target in VIEWS:
            _join(graph, signature, node)


def replace(graph: Graph, signature: ExportGraphSignature, old: Node, new: Node) -> None:
    """Let all read `new` in the place of `old`, which ends; an output takes its name."""
    if graph.output_node() in old.users:
        signature.replace_all_uses(old.name, new.name)
    old.replace_all_uses_with(new)
    graph.erase_node(old)


def _join(graph: Graph, signature: ExportGraphSignature, view: Node) -> None:
    shape = list(view.meta["val"].shape)
    folded = None
    source = view.all_input_nodes[0]
    while source.target in VIEWS:
        source = source.all_input_nodes[0]
    with graph.inserting_before(view):
        if list(source.meta["val"].shape) == shape:
            joined = source
        elif _passes(source, shape):
            inner = source.all_input_nodes[0]
            sides = inner.meta["val"].shape
            folded = _made(graph, view, RESHAPE, inner, [math.prod(sides[:-2]), *sides[-2:]])
            dims = (1, 2) if source.target is ATEN.transpose.int else (-1,)
            joined = _made(graph, view, source.target, folded, *dims)
        elif source is not view.args[0]:
            joined = _made(graph, view, RESHAPE, source, shape)
        else:
            return
    dead = view.all_input_nodes[0]
    replace(graph, signature, view, joined)
    while not dead.users and dead.op == "call_function":
        above = dead.all_input_nodes[0]
        graph.erase_node(dead)
        dead = above
    if folded is not None:
        _join(graph, signature, folded)


def _passes(source: Node, shape: list[int]) -> bool:
    """Whether this folds what works on the last two dimensions, and nothing else reads it."""
    rank = source.meta["val"].ndim if "val" in source.meta else 0
    fold = len(shape) == 3 and rank > 3 and list(source.meta["val"].shape[-2:]) == shape[-2:]
    if not fold or len(source.users) > 1:
        return False
    dims = [dim % rank for dim in source.args[1:] if isinstance(dim, int)]
    if source.target is ATEN.transpose.int:
        return sorted(dims) == [rank - 2, rank - 1]
    return source.target is ATEN.softmax.int and dims == [rank - 1] and len(source.args) == 2


def _made(graph: Graph, origin: Node, target: Any, source: Node, *args: Any) -> Node:
    """A node of one operation on `source`, from where `origin` comes."""
    value = source.meta["val"]
    node = graph.call_function(target, (source, *args))
    node.meta.update(origin.meta)
    with value.fake_mode, torch.no_grad():
        node.meta["val"] = target(value, *args)
    return node
