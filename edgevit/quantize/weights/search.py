"""The scale of each place, searched: which of a few gives its readers' outputs with the least error
once inputs and weights are rounded.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader
from edgevit.networks.parts.places import Part, Place
from edgevit.quantize.weights.integers import applied, rounded_values, rounded_weight
from edgevit.quantize.weights.places import on_inputs, reader_of, rescale, whole
from edgevit.quantize.weights.streaming import Range, Samples, ranges, stream

ROWS = 256  # tokens of a sample that a candidate is tried on
# What a candidate must save of the error to be taken: less is chance.
WORTH = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """x' = (x + shift) / scale, float64 [channels] each; the shift is 0 where it may not pass."""

    scale: Tensor
    shift: Tensor | None = None


Candidates = Callable[[Place, Mapping[Reader, Range]], list[Candidate]]


def probe_of(network: nn.Module) -> nn.Module:
    """A float32 copy that samples run through."""
    return deepcopy(network).float()


@dataclass(slots=True)
class _Trial:
    """A reader of one place with every candidate: rounded weights, ranges, and running errors."""

    layer: Reader
    scales: list[Tensor]  # a factor each of its input channels
    shifts: list[Tensor | None]
    weights: list[Tensor]
    ranges: list[tuple[Tensor, Tensor]]
    errors: list[float] = field(default_factory=list)
    power: float = 0.0

    @classmethod
    def of(cls, part: Part, candidates: Sequence[Candidate], seen: Range) -> "_Trial":
        layer = reader_of(part)
        trial = cls(layer, [], [], [], [])
        for candidate in candidates:
            scale = whole(part, candidate.scale).to(layer.weight)
            shift = candidate.shift
            moved = None if shift is None else whole(part, shift).to(layer.weight)
            low, high = (
                ((edge if moved is None else edge + moved) / scale)
                for edge in (seen.low, seen.high)
            )
            trial.scales.append(scale)
            trial.shifts.append(moved)
            trial.weights.append(rounded_weight(layer, layer.weight * on_inputs(layer, scale)))
            trial.ranges.append((low.min(), high.max()))
            trial.errors.append(0.0)
        return trial

    def run(self, x: Tensor, want: Tensor) -> None:
        """Add the errors on what the reader reads."""
        self.power += float(want.square().sum())
        shape = [1] * x.dim()
        shape[-1 if isinstance(self.layer, nn.Linear) else 1] = -1
        for at, (low, high) in enumerate(self.ranges):
            shift = self.shifts[at]
            moved = x if shift is None else x + shift.reshape(shape)
            rounded = rounded_values(moved / self.scales[at].reshape(shape), low, high)
            error = applied(self.layer, rounded, self.weights[at]) - want
            if shift is not None:  # which the bias takes back
                error = error - applied(
                    self.layer, shift.reshape(shape).expand_as(x[:1]), self.layer.weight
                )
            self.errors[at] += float(error.square().sum())


@torch.no_grad()
def search_scales(
    network: nn.Module,
    samples: Samples,
    find: Callable[[nn.Module], list[Place]],
    propose: Candidates,
) -> int:
    """Rescale, in place, every place that `find` names by the best that `propose` has; returns how
    many were.

    Ranges come from every second sample, from the first on; each candidate's error is added up over
    the others, whose values may lie outside: a channel that is brought to the common range with
    nothing to spare is cut off on the next picture. Readers of one place weigh alike, as shares of
    what they compute. Not to rescale is the first candidate, and stays where no other saves
    `WORTH` of its error.
    """
    places = find(network)
    if not places:
        return 0
    probe = probe_of(network)
    twins = find(probe)
    layers = list(dict.fromkeys(reader_of(part) for twin in twins for part in twin.readers))
    seen = ranges(probe, samples, layers, first=0, step=2)
    by_layer: dict[Reader, list[_Trial]] = {layer: [] for layer in layers}
    tried = []
    for place, twin in zip(places, twins, strict=True):
        if all(reader_of(part) in seen for part in twin.readers):
            options = propose(twin, seen)
            trials = [_Trial.of(part, options, seen[reader_of(part)]) for part in twin.readers]
            tried.append((place, options, trials))
            for trial in trials:
                by_layer[trial.layer].append(trial)

    def see(number: int, x: Tensor) -> None:
        layer = layers[number]
        if isinstance(layer, nn.Linear):
            rows = x.flatten(0, -2)
            x = rows[:: max(1, len(rows) // ROWS)]
        want = applied(layer, x, layer.weight)
        for trial in by_layer[layer]:
            trial.run(x, want)

    stream(probe, samples, layers, see, first=1, step=2)
    changed = 0
    for place, options, trials in tried:
        best = _best(trials, len(options))
        if best:
            rescale(place, options[best].scale, options[best].shift)
            changed += 1
    return changed


def _best(trials: Sequence[_Trial], count: int) -> int:
    errors = [
        sum(trial.errors[at] / trial.power for trial in trials if trial.power)
        for at in range(count)
    ]
    best = min(range(count), key=errors.__getitem__)
    return best if errors[best] < (1 - WORTH) * errors[0] else 0
