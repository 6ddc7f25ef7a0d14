"""Quantization-aware fine-tuning: a network whose layers round as its file's will is trained to
answer as a teacher does, on pictures without labels.

Gradients pass the rounding unchanged (the straight-through estimator of Bengio et al.,
arXiv:1308.3432; Jacob et al., arXiv:1712.05877, section 3). What is learned are the teacher's
outputs as they are, logits before softmax (Ba and Caruana, arXiv:1312.6184): softened classes lose
the logits, which files are held to. vit-micro in 4 bits, 300 steps: 20.3 dB to 22.2 by squares at
3e-5, to 20.8 by softened classes at 1e-4, with no better answers.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from edgevit.errors import UsageError
from edgevit.quantize.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

HELD_OUT = 16  # samples that no step sees, and that say which state is the best
FEWEST = 4 * HELD_OUT
LOOKS = 6  # times that they are looked at
MOST_STEPS = 100_000
SMALLEST = 1e-30  # of the teacher's power; a teacher that says nothing has one, too

Outputs = tuple["Tensor", ...]
Forward = Callable[["Tensor"], Outputs]
Progress = Callable[[int, float], None]  # step, and the best loss so far


@dataclass(frozen=True, slots=True)
class Training:
    """How long and how fast; raises `UsageError` on what no training can be."""

    rate: float  # of Adam, at the start of a half cosine
    steps: int = 300
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"--steps takes 1 to {MOST_STEPS}, not {self.steps}.")
        if not 0 < self.rate < 1:
            raise UsageError(f"--learning-rate lies between 0 and 1, not at {self.rate:g}.")


@dataclass(frozen=True, slots=True)
class Trained:
    """The loss on what was held out, before and at its best; step 0 where nothing was better."""

    before: float
    after: float
    step: int


def distill(
    student: Forward,
    parameters: Mapping[str, "Parameter"],
    teacher: Forward,
    samples: Calibration,
    training: Training,
    progress: Progress = lambda *_: None,
    before_step: Callable[[int], None] = lambda _: None,
) -> Trained:
    """Train `parameters` in place; they end in the state that was best on what was held out.

    student and teacher take one input float32 [1, 3, (T,) H, W]. Inputs are read in the samples'
    order again and again, mirrored at random. before_step is called with every step's number, and
    with 0 before what was held out is looked at.
    Raises `UsageError` on too few samples, and where the loss is not finite.
    """
    import torch

    if len(samples) < FEWEST:
        raise UsageError(
            f"Fine-tuning takes {FEWEST} samples or more, not {len(samples)}.",
            next="more pictures in --calibration-data, or --calibration-samples 256",
        )
    held = [(x, _wanted(teacher, x)) for x in islice(samples, HELD_OUT)]

    def held_loss() -> float:
        before_step(0)
        with torch.no_grad():
            return sum(float(_loss(student(x), want)) for x, want in held) / len(held)

    generator = torch.Generator().manual_seed(training.seed)
    optimizer = torch.optim.Adam(parameters.values(), lr=training.rate)
    inputs = _endless(samples)
    first = best = _finite(held_loss())
    best_step, state = 0, _copy(parameters)
    look = math.ceil(training.steps / LOOKS)
    for step in range(1, training.steps + 1):
        before_step(step)
        for group in optimizer.param_groups:
            group["lr"] = training.rate * (1 + math.cos(math.pi * step / training.steps)) / 2
        for x in islice(inputs, training.batch):
            mirrored = x.flip(-1) if torch.rand(1, generator=generator) < 0.5 else x
            loss = _loss(student(mirrored), _wanted(teacher, mirrored)) / training.batch
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        optimizer.zero_grad()
        if step % look == 0 or step == training.steps:
            error = _finite(held_loss())
            if error < best:
                best, best_step, state = error, step, _copy(parameters)
        progress(step, best)
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(state[name])
    return Trained(first, best, best_step)


def _endless(samples: Calibration) -> "Iterator[Tensor]":
    """What was not held out, again and again, one at a time."""
    while True:
        yield from islice(samples, HELD_OUT, None)


def _wanted(teacher: Forward, x: "Tensor") -> Outputs:
    import torch

    with torch.no_grad():
        return teacher(x)


def _loss(got: Outputs, want: Outputs) -> "Tensor":
    """The error's share of the teacher's power, the mean over outputs: what SQNR is the log of."""
    import torch

    pairs = zip(got, want, strict=True)
    shares = [(a - b).square().mean() / b.square().mean().clamp_min(SMALLEST) for a, b in pairs]
    return torch.stack(shares).mean()


def _copy(parameters: Mapping[str, "Parameter"]) -> dict[str, "Tensor"]:
    return {name: value.detach().clone() for name, value in parameters.items()}


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise UsageError(
            "The training diverged: its loss is not finite.", next="a smaller --learning-rate"
        )
    return loss


def outputs_of(network: "Callable[[Tensor], Tensor | Outputs]") -> Forward:
    """A network whose outputs are always a tuple."""

    def run(x: "Tensor") -> Outputs:
        out = network(x)
        return out if isinstance(out, tuple) else (out,)

    return run
