"""What layers read, sample after sample: hooks and running sums, so that memory does not grow with
the number of samples.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevit.errors import UsageError
from edgevit.networks.parts.norm_readers import Reader

Samples = Iterable[Tensor]


@dataclass(slots=True)
class Range:
    """Lowest and highest value of every input channel of a layer, its sum and that of its squares,
    [inputs] each; over so many values a channel.
    """

    low: Tensor
    high: Tensor
    total: Tensor  # float64, as the squares
    squares: Tensor
    count: int

    def add(self, other: "Range") -> None:
        """Have this one cover what another saw too."""
        torch.minimum(self.low, other.low, out=self.low)
        torch.maximum(self.high, other.high, out=self.high)
        self.total += other.total
        self.squares += other.squares
        self.count += other.count

    @property
    def mean(self) -> Tensor:
        """The mean of every channel, float64."""
        return self.total / self.count

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of every channel, float64."""
        return (self.squares / self.count - self.mean**2).clamp(min=0).sqrt()

    @property
    def largest(self) -> Tensor:
        """The largest magnitude of every channel."""
        return torch.maximum(self.low.abs(), self.high.abs())


@torch.no_grad()
def stream(
    network: nn.Module,
    samples: Samples,
    layers: Sequence[Reader],
    see: Callable[[int, Tensor], None],
    first: int = 0,
    step: int = 1,
) -> None:
    """Run samples through a network, every `step`-th from `first` on, or the only one there is;
    `see` gets the number of a layer and what it reads.

    Raises `UsageError` where there are no samples, or a value of one, or one that a layer makes of
    it, is not finite.
    """
    if iter(samples) is samples:
        raise UsageError("Calibration samples are read several times, and an iterator gives once.")
    hooks = []
    for number, layer in enumerate(layers):

        def note(_: nn.Module, inputs: tuple[Tensor], number: int = number) -> None:
            if not torch.isfinite(inputs[0]).all():
                raise UsageError(
                    "A calibration sample gives values that are not finite, so no range"
                    " can be computed.",
                    next="leave it out, or look at how it was preprocessed",
                )
            see(number, inputs[0])

        hooks.append(layer.register_forward_pre_hook(note))
    dtype, count = next(network.parameters()).dtype, 0
    try:
        for sample in samples:
            if not torch.isfinite(sample).all():
                raise UsageError(f"Calibration sample {count} holds values that are not finite.")
            if count % step == first:
                network(sample.to(dtype))
            count += 1
        if count == 1 and first:
            network(sample.to(dtype))
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise UsageError("There are no calibration samples to edit weights by.")


def by_channel(layer: Reader, x: Tensor) -> Tensor:
    """What a layer reads as [rows, input channels]."""
    return x.flatten(0, -2) if isinstance(layer, nn.Linear) else x.movedim(1, -1).flatten(0, -2)


def ranges(
    network: nn.Module,
    samples: Samples,
    layers: Sequence[Reader],
    first: int = 0,
    step: int = 1,
) -> dict[Reader, Range]:
    """The range of every input channel of every layer over all samples; layers that nothing
    reaches are left out.
    """
    by_layer: dict[Reader, Range] = {}

    def see(number: int, x: Tensor) -> None:
        rows = by_channel(layers[number], x)
        low, high = rows.aminmax(dim=0)
        wide = rows.double()
        new = Range(low, high, wide.sum(dim=0), wide.square().sum(dim=0), len(rows))
        if (seen := by_layer.get(layers[number])) is None:
            by_layer[layers[number]] = new
        else:
            seen.add(new)

    stream(network, samples, layers, see, first, step)
    return by_layer
