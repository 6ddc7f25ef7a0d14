"""EDITS: weight edits in their order, each with the reason for its place and what proves it.

They run between the `common` and the `format` stage of the passes, so that one edited network feeds
every runtime, whose quantizers round activations with one step a tensor and weights with one an
output channel.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevit.difference import difference
from edgevit.errors import CheckFailed, UsageError
from edgevit.networks.line import TOLERANCE, count_ops
from edgevit.networks.parts.layers import Network
from edgevit.quantize.weights.correct import correct_biases
from edgevit.quantize.weights.equalize import (
    equalize_layers,
    equalize_norms,
    smooth_norms,
    smooth_values,
)

Run = Callable[[nn.Module, Iterable[Tensor]], int]


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of the table. `run` edits a float64 network in place by float32 samples and returns
    how many places it changed.
    """

    run: Run
    exact: bool  # whether the float network computes the same
    reason: str

    @property
    def name(self) -> str:
        """The function's name, dashed."""
        return self.run.__name__.replace("_", "-")


@dataclass(frozen=True, slots=True)
class EditReport:
    """What one edit did: places changed, and how far the float network's outputs moved on a seeded
    input, in float64 by edgevit.difference.difference.
    """

    name: str
    exact: bool
    places: int
    difference: float


EDITS: tuple[Edit, ...] = (
    Edit(
        equalize_norms,
        True,
        "first: a norm's channels get a common middle, which scales alone cannot give them",
    ),
    Edit(
        smooth_norms,
        True,
        "after the ranges are as even as they get: what is left moves into the weights",
    ),
    Edit(
        smooth_values,
        True,
        "after the norms, whose readers' columns decide what a row of v weighs",
    ),
    Edit(
        equalize_layers,
        True,
        "after the norms, for the convolutions that one of them feeds",
    ),
    Edit(
        correct_biases,
        False,
        "last: it measures the rounding of the weights that the others leave",
    ),
)

# Which of them a system gets stands in its integers.py, with decibels on drawn scenes without them
# and with them: docs/weight_edits.md has all that were measured. Elsewhere ranges of norms, and
# ranges of values, are evened out by hand only: they gain much where a checkpoint has outlying
# channels, and behind `smooth-norms` nothing on ours, which has none.


def edits_named(names: Sequence[str]) -> tuple[Edit, ...]:
    """The edits of these names, in the table's order whatever the given one; raises `UsageError`
    on a name that no edit has.
    """
    known = [edit.name for edit in EDITS]
    for name in names:
        if name not in known:
            raise UsageError(f"There is no weight edit {name!r}; there are {', '.join(known)}.")
    return tuple(edit for edit in EDITS if edit.name in names)


@torch.inference_mode(mode=False)  # in which parameters cannot be written
@torch.no_grad()
def edit_weights(
    network: Network,
    samples: Iterable[Tensor],
    edits: Sequence[Edit],
    report: Callable[[EditReport], None] = lambda _: None,
    seed: int = 0,
) -> Network:
    """Edit a copy of an eval-mode network after its common passes; returns it in the dtype it came
    in.

    `samples` are float32 inputs [1, 3, (T,) H, W] that can be iterated several times; one at a time
    is held. Weights are float64 while edits work. After each exact edit the outputs on a seeded
    random input are compared with those before it; one that is not exact sets a new reference.
    Raises `CheckFailed` that names the edit which moved an output, `UsageError` on a network in
    training mode, no samples, an iterator in their place, or values that are not finite.
    """
    if any(module.training for module in network.modules()):
        raise UsageError("The network is in training mode; call .eval() before editing it.")
    if iter(samples) is samples:
        raise UsageError(
            "Calibration samples are read several times; an iterator gives them only once.",
            next="pass a list, or an object whose __iter__ starts anew",
        )
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise UsageError(f"The weight {name} holds values that are not finite.")
    dtype = next(network.parameters()).dtype
    edited = deepcopy(network).double()
    generator = torch.Generator().manual_seed(seed)
    example = torch.randn(network.input_shape, generator=generator, dtype=torch.float64)
    _, reference = count_ops(edited, example)
    for edit in edits:
        places = edit.run(edited, samples)
        _, outputs = count_ops(edited, example)
        worst = max(
            difference(got.numpy(), want.numpy())
            for got, want in zip(outputs, reference, strict=True)
        )
        if edit.exact and not worst <= TOLERANCE:
            raise CheckFailed(
                f"The weight edit {edit.name} changed the network's output by {worst:.1e}"
                f" (allowed {TOLERANCE:.0e}).",
                next="export with --precision fp32, and report this with the model's name",
            )
        report(EditReport(edit.name, edit.exact, places, worst))
        if not edit.exact:
            reference = outputs
    return edited.to(dtype)
