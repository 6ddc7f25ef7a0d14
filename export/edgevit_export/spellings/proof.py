"""The proof of a spelling: a captured program run in float64, before and after."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import GraphModule, Interpreter
from torch.utils import _pytree as pytree

TOLERANCE = 1e-9  # float64; what is exact in algebra differs by rounding alone
SEED = 0


class Doubles(Interpreter):
    """Runs a graph with every float in 64 bits.

    Steps to and from integers round, and what rounds proves nothing; so floats pass them as they
    are, and integer weights are what they stand for.
    """

    def run_node(self, node: Any) -> Any:
        """The node's value."""
        return _doubled(super().run_node(node))

    def call_function(self, target: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """The operation on float64 values."""
        name = str(target)
        if "_assert_tensor_metadata" in name:
            return None  # of the data types that this changes
        if ".quantize_" in name:
            return args[0]
        if ".dequantize_" in name and args[0].is_floating_point():
            return args[0]
        args, kwargs = pytree.tree_map_only(torch.dtype, _wide, (args, dict(kwargs)))
        return super().call_function(target, args, kwargs)


def outputs_in_float64(program: ExportedProgram, graph: GraphModule) -> list[Tensor]:
    """The outputs of `graph`, which has the program's inputs, on a seeded normal input."""
    generator = torch.Generator().manual_seed(SEED)
    arguments, _ = program.example_inputs or ((), {})
    examples = iter(pytree.tree_leaves(arguments))
    values = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            value = next(examples)
            if isinstance(value, Tensor) and value.is_floating_point():
                value = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        else:
            assert spec.target is not None
            kept = program.state_dict.get(spec.target)
            value = program.constants[spec.target] if kept is None else kept
        values.append(_doubled(value))
    with torch.no_grad():
        results = Doubles(graph).run(*values)
    return [value for value in pytree.tree_leaves(results) if isinstance(value, Tensor)]


def difference(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """max|a - b| / max(1, std(b)) of the worst output."""
    return max(
        float((a.double() - b.double()).abs().max() / max(1.0, float(b.double().std(correction=0))))
        for a, b in zip(got, want, strict=True)
    )


def _doubled(value: Any) -> Any:
    return pytree.tree_map_only(
        Tensor, lambda one: one.double() if one.is_floating_point() else one, value
    )


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype
