"""PASSES: every rewrite in its order, each with the reason for its place, and the runner that
proves each one.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from edgevit.errors import CheckFailed, UsageError
from edgevit.models.layers import Network
from edgevit.parity import difference
from edgevit.reparam.ask_class_token import ask_class_token
from edgevit.reparam.attention import stack_attention
from edgevit.reparam.class_tokens import answer_for_class_tokens
from edgevit.reparam.copy_pixels import copy_pixels, copy_uneven_pixels
from edgevit.reparam.dense_sampling import bound_gathers, sample_by_products
from edgevit.reparam.explicit_attend import explicit_attend
from edgevit.reparam.explicit_norms import fold_norm_affines
from edgevit.reparam.explicit_performer import fold_feature_scales
from edgevit.reparam.fix_pools import fix_pools
from edgevit.reparam.fix_positions import fix_positions
from edgevit.reparam.fold_deconv_norms import fold_deconv_norms
from edgevit.reparam.fold_fuse import fold_depthwise_fuse
from edgevit.reparam.fold_gates import fold_hard_sigmoids
from edgevit.reparam.fold_map_norms import fold_map_norms
from edgevit.reparam.fold_norms import fold_batch_norms
from edgevit.reparam.fold_places import fold_places
from edgevit.reparam.fold_sampling import fold_sampling_units
from edgevit.reparam.fold_scales import fold_layer_scales
from edgevit.reparam.gather_sampling import sample_by_rows
from edgevit.reparam.order_windows import order_windows
from edgevit.reparam.pooling_attention import shape_pooling_attention
from edgevit.reparam.shift_conv3d import shift_conv3d
from edgevit.reparam.split_projections import fold_attention_scales, split_projections
from edgevit.reparam.unfold_to_conv import unfold_to_conv
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
        _alone(fold_map_norms),
        "common",
        ALL_FORMATS,
        "after the norms: an adapter's own go into convolutions that have a bias",
    ),
    Pass(
        _alone(fix_positions),
        "common",
        ALL_FORMATS,
        "the input size is fixed by now, and so is what depends on it and on weights alone",
    ),
    Pass(
        _alone(fold_layer_scales),
        "common",
        ALL_FORMATS,
        "before weight edits, which measure the projections that run",
    ),
    Pass(
        order_windows,
        "common",
        ALL_FORMATS,
        "attention over all tokens is rewritten later, and so are the whole windows this leaves",
    ),
    Pass(
        _alone(fold_deconv_norms),
        "common",
        ALL_FORMATS,
        "with the norms: ViTPose's decoder has them behind transposed convolutions",
    ),
    Pass(
        _alone(unfold_to_conv),
        "common",
        ALL_FORMATS,
        "no runtime has unfold, and what exporters write instead gathers every patch",
    ),
    Pass(
        _alone(fold_feature_scales),
        "common",
        ALL_FORMATS,
        "anywhere: without it ONNX's optimizer drops the 1e-8 that keeps a small sum from zero",
    ),
    Pass(
        _alone(fold_places),
        "common",
        ALL_FORMATS,
        "class tokens and tables are constants; their sum is computed here instead of there",
    ),
    Pass(
        _alone(answer_for_class_tokens),
        "common",
        ALL_FORMATS,
        "saves most of the last block, which only the class token is read from",
    ),
    Pass(
        _alone(ask_class_token),
        "common",
        ALL_FORMATS,
        "the same for MViTv2, whose class token goes around pooling and positions",
    ),
    Pass(
        _alone(shift_conv3d),
        "common",
        ALL_FORMATS,
        "XNNPACK and Core ML's fast kernels are 2-D; depthwise ones in time are slow everywhere",
    ),
    Pass(
        _alone(fold_attention_scales),
        "common",
        ALL_FORMATS,
        "after the last block has its projections apart; weight edits then see the final weights",
    ),
    Pass(
        _alone(stack_attention),
        "format",
        ("onnx", "litert", "coreml"),
        "after weight edits, which want q, k and v apart; one wide projection is faster than three",
    ),
    Pass(
        _alone(split_projections),
        "format",
        ("executorch", "litert"),
        "one joint projection's int8 output would have one scale for q, k and v; in LiteRT three"
        " projections are 1 % faster than one and slices",
    ),
    Pass(
        _alone(explicit_attend),
        "format",
        ("onnx", "litert", "coreml"),
        "fused attention has no operation in these formats; XNNPACK's spelling is of the program,"
        " which LiteRT's converter does not take",
    ),
    Pass(
        _alone(shape_pooling_attention),
        "format",
        ALL_FORMATS,
        "after the convolutions over time are shifted, and before norms' affines fold into what"
        " this leaves; at most rank 5, and the same form is the fastest in all",
    ),
    Pass(
        _alone(copy_pixels),
        "format",
        ("executorch",),
        "XNNPACK's resize is bilinear only, and its pool's stride may not exceed the window",
    ),
    Pass(
        _alone(copy_uneven_pixels),
        "format",
        ("litert", "coreml"),
        "resizes where LiteRT reads other pixels than torch; Core ML's are written down nowhere",
    ),
    Pass(
        _alone(fold_norm_affines),
        "format",
        ("executorch",),
        "after the projections are apart; the other runtimes' norms scale and shift for nothing",
    ),
    Pass(
        fold_sampling_units,
        "format",
        ("onnx", "coreml"),
        "these runtimes have a grid_sample of their own, the fastest form there",
    ),
    Pass(
        sample_by_products,
        "format",
        ("executorch", "litert"),
        "after the norms before it, of which its projections have the affine; XNNPACK has no"
        " grid_sample, and small samplings are fastest as products inside of it",
    ),
    Pass(
        bound_gathers,
        "format",
        ("executorch",),
        "of the large samplings, as many as cut the graph in more than ten pieces",
    ),
    Pass(
        sample_by_rows,
        "format",
        ("executorch", "litert"),
        "the other samplings: one row read a point is the least that is left outside",
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


def _fingerprint(model: nn.Module) -> tuple[object, ...]:
    """What a pass that does not concern a network leaves as it was: its modules, what is set on
    them, their tensors and the values in them. Such a pass needs no proof, which is a float64
    forward. (A write through `.data` would go unseen: tests/test_house.py refuses it.)
    """
    found: list[object] = []
    for name, module in model.named_modules(remove_duplicate=False):
        settings = {
            key: repr(value) if isinstance(value, _SETTINGS) else id(value)
            for key, value in vars(module).items()
            if key not in _LISTED
        }
        found.append((name, module, settings))  # itself: its number could be given anew
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    found += [(name, id(tensor), tensor._version) for name, tensor in tensors]
    return tuple(found)


_SETTINGS = (bool, int, float, str, tuple, list, type(None))
_LISTED = ("_parameters", "_buffers", "_modules")  # what is in them is asked by name


@torch.inference_mode(mode=False)  # whose tensors count no versions
def run_line(
    model: Network,
    stage: Stage,
    format: str | None = None,  # noqa: A002 - the design's word
    seed: int = 0,
    report: Callable[[PassReport], None] = lambda _: None,
) -> Network:
    """Run one stage's passes on a copy of an eval-mode network; returns it in the dtype it came in.

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
    for line in PASSES:
        if line.stage != stage or (format is not None and format not in line.formats):
            continue
        was = _fingerprint(model)
        model = line.run(model, example).eval()
        if _fingerprint(model) == was:
            continue
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
