"""PASSES: the general rewrites in their order, each with the reason for its place and the systems'
own in front of it, and the runner that proves each one.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import ref

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgevit.difference import difference
from edgevit.errors import CheckFailed, UsageError
from edgevit.networks.parts.layers import Network
from edgevit.networks.passes.explicit_attend import explicit_attend
from edgevit.networks.passes.fix_pools import fix_pools
from edgevit.networks.passes.fold_deconv_norms import fold_deconv_norms
from edgevit.networks.passes.fold_norm_affines import fold_norm_affines
from edgevit.networks.passes.fold_norms import fold_batch_norms
from edgevit.networks.passes.shift_conv3d import shift_conv3d
from edgevit.networks.passes.split_deconvs import split_deconvs
from edgevit.networks.passes.split_projections import fold_attention_scales, split_projections
from edgevit.networks.system import ALL_FORMATS, Pass, Stage, System, alone
from edgevit.networks.zoo import SYSTEMS

TOLERANCE = 1e-9  # float64; what is exact in algebra differs by rounding alone
REPORT_IT = "export with --no-reparameterize, and report this with the model's name"


@dataclass(frozen=True, slots=True)
class PassReport:
    """What one pass did: aten operations of a forward before and after, and the proof."""

    name: str
    stage: Stage
    ops_before: int
    ops_after: int
    change: dict[str, int]  # operation -> how many more (or fewer)
    difference: float  # float64, by edgevit.difference.difference


GENERAL: tuple[Pass, ...] = (
    Pass(
        alone(fold_batch_norms),
        "common",
        ALL_FORMATS,
        "first: every later fold works on convolutions that carry their own bias",
    ),
    Pass(
        fix_pools,
        "common",
        ALL_FORMATS,
        "no runtime's delegate takes an adaptive pool; the input size is fixed by now",
    ),
    Pass(
        alone(fold_deconv_norms),
        "common",
        ALL_FORMATS,
        "with the norms: a decoder has them behind transposed convolutions",
    ),
    Pass(
        alone(shift_conv3d),
        "common",
        ALL_FORMATS,
        "XNNPACK and Core ML's fast kernels are 2-D; depthwise ones in time are slow everywhere",
    ),
    Pass(
        alone(fold_attention_scales),
        "common",
        ALL_FORMATS,
        "after the last block has its projections apart; weight edits then see the final weights",
    ),
    Pass(
        alone(split_deconvs),
        "format",
        ("executorch", "litert"),
        "after the norms and the activations behind them; XNNPACK's kernel for transposed"
        " convolutions reaches half of a core's peak, that of ordinary ones all of it",
        float_only=("executorch",),  # its integer kernel is at the peak; LiteRT's file has none
    ),
    Pass(
        alone(split_projections),
        "format",
        ("executorch", "litert"),
        "one joint projection's int8 output would have one scale for q, k and v; in LiteRT three"
        " projections are 1 % faster than one and slices",
    ),
    Pass(
        alone(explicit_attend),
        "format",
        ("onnx", "litert", "coreml"),
        "fused attention has no operation in these formats; XNNPACK's spelling is of the program,"
        " which LiteRT's converter does not take",
    ),
    Pass(
        alone(fold_norm_affines),
        "format",
        ("executorch",),
        "after the projections are apart; the other runtimes' norms scale and shift for nothing",
    ),
)


def join(general: tuple[Pass, ...], systems: Iterable[System]) -> tuple[Pass, ...]:
    """Each system's own passes in front of the general ones that they name, in their order; at the
    end those that name none.
    """
    own = [line for system in systems for line in system.load().passes]
    joined = [
        placed for line in general for placed in (*(p for p in own if p.before == line.name), line)
    ]
    return *joined, *(p for p in own if p.before is None)


PASSES = join(GENERAL, SYSTEMS.values())


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
            "A network built with outputs='all' cannot be rewritten: passes keep its final output,"
            " not the maps inside it.",
            next="create_model(..., outputs='task')",
        )
    return mode.counts, list(out) if isinstance(out, tuple) else [out]


def _fingerprint(model: nn.Module) -> tuple[object, ...]:
    """What a pass that does not concern a network leaves as it was: its modules, what is set on
    them and on what they hold, their tensors and the values in them. Such a pass needs no proof,
    which is a float64 forward. (A write through `.data` would go unseen: tests/test_house.py
    refuses it.)
    """
    modules = list(model.modules())
    known = set(map(id, modules))
    return tuple((_Same(module), _state(vars(module), known)) for module in modules)


class _Same:
    """Equal to itself alone; held, for its number could be given anew."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    __hash__ = None  # type: ignore[assignment]  # compared, and no key of anything


_PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None))
_FIXED = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


def _state(value: object, known: set[int]) -> object:
    """A value as it is now, so that a change in place is seen: a dict stays the same object in one.

    known: what is told elsewhere, by number; this value and its parts join it.
    """
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, Tensor):
        # A weak reference, which is one object as long as its tensor lives: held themselves, all
        # that a pass replaces would stay in memory.
        return _Same(ref(value)), object() if value.is_inference() else value._version
    if isinstance(value, np.ndarray):
        return _Same(value), value.tobytes()
    if id(value) in known or isinstance(value, _FIXED):
        return _Same(value)
    known.add(id(value))
    if isinstance(value, dict):
        held: object = tuple((_state(k, known), _state(v, known)) for k, v in value.items())
    elif isinstance(value, list | tuple):
        held = tuple(_state(item, known) for item in value)
    elif isinstance(value, set | frozenset):
        held = frozenset(map(repr, value))
    elif is_dataclass(value):
        held = tuple(_state(getattr(value, field.name), known) for field in fields(value))
    else:
        held = _Same(value), _state(getattr(value, "__dict__", None), known)
    return type(value), held


@torch.inference_mode(mode=False)  # whose tensors count no versions
def run_line(
    model: Network,
    stage: Stage,
    format: str | None = None,  # noqa: A002 - a file format, as everywhere
    seed: int = 0,
    report: Callable[[PassReport], None] = lambda _: None,
    integer: bool = False,
) -> Network:
    """Run one stage's passes on a copy of an eval-mode network; returns it in the dtype it came in.

    integer: for a file with integer activations, of which some passes make nothing better.

    The copy is float64 while passes work, so that folds round once, at the stage's end. After each
    pass that changed something, the outputs on a seeded random input are compared with those at
    the start. Raises `CheckFailed` that names the pass which changed them, and `UsageError` on a
    network in training mode, all or in part, or one that returns its intermediate maps.
    """
    if any(module.training for module in model.modules()):
        raise UsageError("The network is in training mode; call .eval() before rewriting it.")
    dtype = next(model.parameters()).dtype
    model = deepcopy(model).double()
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(model.input_shape, generator=generator, dtype=torch.float64)
    before, reference = count_ops(model, example)
    state = _fingerprint(model)
    for line in PASSES:
        if line.stage != stage or (format is not None and format not in line.formats):
            continue
        if integer and format in line.float_only:
            continue
        model = line.run(model, example).eval()
        was, state = state, _fingerprint(model)
        if state == was:
            continue
        after, outputs = count_ops(model, example)
        shapes, wanted = ([list(tensor.shape) for tensor in some] for some in (outputs, reference))
        if shapes != wanted:
            raise CheckFailed(
                f"The pass {line.name} changed the network's outputs from {wanted} to {shapes}.",
                next=REPORT_IT,
            )
        worst = max(
            difference(got.numpy(), want.numpy())
            for got, want in zip(outputs, reference, strict=True)
        )
        if not worst <= TOLERANCE:
            raise CheckFailed(
                f"The pass {line.name} changed the network's output by {worst:.1e}"
                f" (allowed {TOLERANCE:.0e}).",
                next=REPORT_IT,
            )
        change = {op: after[op] - before[op] for op in before | after if after[op] != before[op]}
        report(PassReport(line.name, stage, before.total(), after.total(), change, worst))
        before = after
    return model.to(dtype)
