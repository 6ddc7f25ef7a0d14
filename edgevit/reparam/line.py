"""PASSES: every rewrite in its order, each with the reason for its place, and the runner that
proves each one.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgevit.errors import CheckFailed, UsageError
from edgevit.models.layers import Network
from edgevit.parity import difference
from edgevit.reparam.attention import explicit_attention, stack_attention
from edgevit.reparam.fix_pools import fix_pools
from edgevit.reparam.fold_fuse import fold_depthwise_fuse
from edgevit.reparam.fold_gates import fold_hard_sigmoids
from edgevit.reparam.fold_norms import fold_batch_norms
from edgevit.reparam.slice_groups import slice_token_groups
from edgevit.targets import narrowed, target_named

Stage = Literal["common", "format"]
ALL_FORMATS = ("onnx", "executorch", "litert", "coreml")
TOLERANCE = 1e-9  # float64; what is exact in algebra differs by rounding alone


@dataclass(frozen=True, slots=True)
class Pass:
    """One line of the table. `run` takes the network and an example input, and returns the
    rewritten network.
    """

    run: Callable[[Network, Tensor], Any]
    stage: Stage
    formats: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        """The function's name, dashed."""
        return self.run.__name__.replace("_", "-")


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: aten operations of a forward before and after, and the proof."""

    name: str
    stage: Stage
    ops_before: int
    ops_after: int
    change: dict[str, int]  # operation -> how many more (or fewer)
    difference: float  # float64, by edgevit.parity.difference


def _alone(function: Callable[[Any], Any]) -> Callable[[Network, Tensor], Any]:
    """A pass that needs no shapes."""

    def run(model: Network, example: Tensor) -> Any:
        return function(model)

    run.__name__ = function.__name__
    return run


PASSES: tuple[Pass, ...] = (
    Pass(
        _alone(fold_batch_norms),
        "common",
        ALL_FORMATS,
        "first: every later fold works on convolutions that carry their own bias",
    ),
    Pass(
        _alone(fold_hard_sigmoids),
        "common",
        ALL_FORMATS,
        "after the norms: the shift goes into the bias they left",
    ),
    Pass(
        _alone(fold_depthwise_fuse),
        "common",
        ALL_FORMATS,
        "after the norms: removes the head's only operation of its own at 1/8",
    ),
    Pass(
        fix_pools,
        "common",
        ALL_FORMATS,
        "no runtime's delegate takes an adaptive pool; the input size is fixed by now",
    ),
    Pass(
        _alone(stack_attention),
        "format",
        ("onnx", "litert", "coreml"),
        "after weight edits, which want q, k and v apart; one wide projection is faster than three",
    ),
    Pass(
        _alone(explicit_attention),
        "format",
        ("executorch",),
        "XNNPACK takes 3-D products only and no uneven split, so q, k and v stay apart",
    ),
    Pass(
        _alone(slice_token_groups),
        "format",
        ("executorch",),
        "XNNPACK takes a slice where it leaves an uneven split outside",
    ),
)


class _CountOps(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Counts aten operations; views and allocations are free on every runtime and left out."""

    FREE = frozenset(
        {"view", "_unsafe_view", "t", "transpose", "expand", "detach", "alias", "split", "empty"}
    )

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the same
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        if name not in self.FREE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def count_ops(model: Network, example: Tensor) -> tuple[Counter[str], list[Tensor]]:
    """One forward's operations, and its outputs as a list."""
    with _CountOps() as mode:
        out = model(example)
    if isinstance(out, dict):
        raise UsageError(
            "A network built with outputs='all' cannot be rewritten: passes keep what it returns,"
            " not the maps on the way.",
            next="create_model(..., outputs='task')",
        )
    return mode.counts, list(out) if isinstance(out, tuple) else [out]


def run_line(
    model: Network,
    stage: Stage,
    format: str | None = None,  # noqa: A002 - the design's word
    seed: int = 0,
    report: Callable[[PassReport], None] = lambda _: None,
) -> Network:
    """Run one stage's passes on a copy of an eval-mode network; returns it in the dtype it came in.

    The copy is float64 while passes work, so that folds round once, at the end. After each pass the
    outputs on a seeded random input are compared with those before it. Raises `CheckFailed` that
    names the pass which changed them, and `UsageError` on a network in training mode or one that
    returns its intermediate maps.
    """
    if model.training:
        raise UsageError("The network is in training mode; call .eval() before rewriting it.")
    dtype = next(model.parameters()).dtype
    model = deepcopy(model).double()
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(model.input_shape, generator=generator, dtype=torch.float64)
    before, reference = count_ops(model, example)
    for line in PASSES:
        if line.stage != stage or (format is not None and format not in line.formats):
            continue
        model = line.run(model, example).eval()
        after, outputs = count_ops(model, example)
        worst = max(
            difference(got.numpy(), want.numpy())
            for got, want in zip(outputs, reference, strict=True)
        )
        if not worst <= TOLERANCE:
            raise CheckFailed(
                f"The pass {line.name} changed the network's output by {worst:.1e}"
                f" (allowed {TOLERANCE:.0e}).",
                next="export with --no-reparameterize, and report this with the model's name",
            )
        change = {op: after[op] - before[op] for op in before | after if after[op] != before[op]}
        if change:
            report(PassReport(line.name, stage, before.total(), after.total(), change, worst))
        before = after
    return model.to(dtype)


def reparameterize(
    model: Network,
    target: str = "android-arm64",
    format: str | None = None,  # noqa: A002 - the design's word
    seed: int = 0,
    report: Callable[[PassReport], None] = lambda _: None,
) -> Network:
    """Every exact rewrite for one format of a target, or for its preferred one; the given network
    stays as it was.

    Raises `UsageError` on an unknown target or a format it does not take, and `CheckFailed` where a
    pass changed an output.
    """
    formats = narrowed(target_named(target), (format,) if format else ())
    common = run_line(model, "common", None, seed, report)
    return run_line(common, "format", formats[0], seed, report)
