"""A row of a delegate's table, and the pass that applies a table to a captured program."""

import copy
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, ExportGraphSignature
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from edgevit_export.errors import LoweringFailed
from edgevit_export.spellings.proof import TOLERANCE, difference, outputs_in_float64
from edgevit_export.spellings.views import join_views, replace

# Of a node, what says where in the network it comes from: its spelling comes from there too.
ORIGIN = ("nn_module_stack", "stack_trace", "torch_fn")


def always(*_: Any, **__: Any) -> bool:
    """Whatever the arguments are."""
    return True


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a delegate wants these operations: `write`, with the operation's own arguments."""

    ops: tuple[Any, ...]  # of torch.ops.aten
    write: Callable[..., Tensor | tuple[Tensor, ...]]  # its docstring is its algebra
    reason: str
    fits: Callable[..., bool] = always  # whether the operation is to be written so

    @property
    def name(self) -> str:
        """The function's name, dashed."""
        return self.write.__name__.replace("_", "-")


def spell(program: ExportedProgram, table: Sequence[Spelling]) -> ExportedProgram:
    """The program in a delegate's words: every row of the table in turn, on the whole graph.

    A program that has none of the operations comes back as it is. What changed is run in float64 on
    a seeded input, before and after; raises `LoweringFailed` that names the spelling which changed
    an output.
    """
    if not any(_found(program.graph, row) for row in table):
        return program
    if any(_writes(node) for node in program.graph.nodes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations
            # A write into a view would be lost where the view becomes a copy.
            program = program.run_decompositions({})
    graph, signature, used = _rewritten(program, table)
    reference = outputs_in_float64(program, program.graph_module)
    if not difference(outputs_in_float64(program, graph), reference) <= TOLERANCE:
        raise _failure(program, used, reference)
    return ExportedProgram(
        root=graph,
        graph=graph.graph,
        graph_signature=signature,
        state_dict=program.state_dict,
        range_constraints=program.range_constraints,
        module_call_graph=program.module_call_graph,
        example_inputs=program.example_inputs,
        constants=program.constants,
        verifiers=program.verifiers,
    )


def _failure(
    program: ExportedProgram, used: Sequence[Spelling], reference: Sequence[Tensor]
) -> LoweringFailed:
    """The error that names the first row whose program is another one."""
    for count in range(1, len(used) + 1):
        graph, _, _ = _rewritten(program, used[:count])
        worst = difference(outputs_in_float64(program, graph), reference)
        if not worst <= TOLERANCE:
            break
    return LoweringFailed(
        f"The spelling {used[count - 1].name} changed the network's output by {worst:.1e}"
        f" (allowed {TOLERANCE:.0e})."
    )


def _rewritten(
    program: ExportedProgram, table: Iterable[Spelling]
) -> tuple[GraphModule, ExportGraphSignature, list[Spelling]]:
    """A copy of the program's graph and signature, and the rows that found something in it."""
    graph = copy.deepcopy(program.graph_module)
    signature = copy.deepcopy(program.graph_signature)
    # What is called as one of Python's builtins gets another name in a copy.
    names = {
        old.name: new.name for old, new in zip(program.graph.nodes, graph.graph.nodes, strict=True)
    }
    for spec in (*signature.input_specs, *signature.output_specs):
        if not isinstance(spec.arg, ConstantArgument):
            spec.arg.name = names[spec.arg.name]
    used = []
    for row in table:
        nodes = _found(graph.graph, row)
        for node in nodes:
            _write(graph, signature, node, row)
        if nodes:
            used.append(row)
    if used:
        join_views(graph.graph, signature)
    graph.graph.lint()
    graph.recompile()
    return graph, signature, used


def _found(graph: Graph, row: Spelling) -> list[Node]:
    """The operations that a row is to write."""
    return [
        node
        for node in graph.nodes
        if node.op == "call_function"
        and node.target in row.ops
        and row.fits(*_values(node.args), **_values(node.kwargs))
    ]


def _writes(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _values(arguments: Any) -> Any:
    """Arguments with the fake tensors that the capture left in the place of nodes."""
    return pytree.tree_map_only(Node, lambda node: node.meta["val"], arguments)


def _write(graph: GraphModule, signature: ExportGraphSignature, node: Node, row: Spelling) -> None:
    """Trace a row's function at the node's shapes, and put what it does in the node's place."""
    flat, structure = pytree.tree_flatten((node.args, dict(node.kwargs)))
    sources = [value for value in flat if isinstance(value, Node)]

    def spelled(*tensors: Tensor) -> Any:
        following = iter(tensors)
        filled = [next(following) if isinstance(value, Node) else value for value in flat]
        args, kwargs = pytree.tree_unflatten(filled, structure)
        return row.write(*args, **kwargs)

    fakes = [source.meta["val"] for source in sources]
    with fakes[0].fake_mode, torch.no_grad():
        traced = make_fx(spelled, pre_dispatch=True)(*fakes)
    places = dict(zip(traced.graph.find_nodes(op="placeholder"), sources, strict=True))
    with graph.graph.inserting_before(node):
        for made in traced.graph.nodes:
            if made.op == "call_function":
                copied = graph.graph.node_copy(made, places.__getitem__)
                copied.meta.update({key: node.meta[key] for key in ORIGIN if key in node.meta})
                places[made] = copied
    results = pytree.tree_map_only(Node, places.__getitem__, traced.graph.output_node().args[0])
    if isinstance(results, Node):
        replace(graph.graph, signature, node, results)
        return
    for reader in list(node.users):
        assert reader.target is operator.getitem
        replace(graph.graph, signature, reader, results[reader.args[1]])
    graph.graph.erase_node(node)
