"""Edits that even out the channels of what is rounded with one step a tensor; all are exact."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader, ScaledNorm, norm_readers
from edgevit.networks.parts.places import Place
from edgevit.quantize.weights.integers import outputs_first
from edgevit.quantize.weights.places import (
    channels_of,
    layer_places,
    norm_places,
    reader_of,
    taken,
    value_places,
)
from edgevit.quantize.weights.search import Candidate, search_scales
from edgevit.quantize.weights.streaming import Range, Samples

EXPONENTS = (0.25, 0.5, 0.75, 1.0)
SMALLEST = 1e-3  # share of the largest: a dead channel has no range that could be widened


def equalize_norms(network: nn.Module, samples: Samples) -> int:
    """Bring every channel of a LayerNorm's output to one range, and its readers to that.

    With s_c and z_c the step and the zero point of channel c alone, s and z their means over
    channels, r1 = s_c / s and r2 = z_c - z:
        gamma' = gamma / r1,  beta' = (beta + s_c r2) / r1,   so that x' = (x + s_c r2) / r1
        W' = W r1 (a factor an input column),  b' = b - W (s_c r2)
    Every channel of x' has the step s and the zero point z. Where a reader is padded or a ReLU lies
    between, r2 = 0 and s_c is that of the largest magnitude.
    Source: Li et al., "RepQ-ViT" (ICCV 2023, arXiv 2212.08254), section 3.2. There it is done
    everywhere, for activations of 4 and 6 bits; here where it pays on samples that the ranges are
    not from, with ranges of extremes, or of mean and deviation, which a stray value does not move.
    Returns how many norms changed. Leaves: `ScaledNorm`s, whose affine no pass folds.
    """
    own_norms(network)
    return search_scales(network, samples, norm_places, one_range)


def smooth_norms(network: nn.Module, samples: Samples) -> int:
    """Move what is hard to round in a LayerNorm's output into its readers' weights, as far as it
    pays.

    x' = x / s, W' = W s, with s_c = max|x_c|^a / max|W_c|^(1 - a), each weight taken as a share of
    the largest of its output channel, because that is its unit. `a` is searched a place: the one
    with which rounded inputs and weights give the readers' outputs with the least error, s = 1
    among them.
    Source: Xiao et al., "SmoothQuant" (ICML 2023, arXiv 2211.10438), eq. 4.
    """
    own_norms(network)
    return search_scales(network, samples, norm_places, smoothing)


def smooth_values(network: nn.Module, samples: Samples) -> int:
    """The same for attention's values: rows of v divided by s, columns of the projection behind
    attention multiplied. Attention mixes tokens within a channel: A (V / s) = (A V) / s.
    """
    return search_scales(network, samples, value_places, smoothing)


def equalize_layers(network: nn.Module, samples: Samples) -> int:
    """The same for convolutions with ReLU or nothing between them, f(x / s) = f(x) / s,
        W1' = W1 / s, b1' = b1 / s (rows),  W2' = W2 s (columns)
    and for sums, whose summands and readers share one scale a channel.

    Beside the scales above, sqrt(r1 / r2) is tried, with r1 and r2 the largest weights of a channel
    where it is made and where it is read. Source: Nagel et al., "Data-Free Quantization Through
    Weight Equalization and Bias Correction" (ICCV 2019, arXiv 1906.04721), section 4.1. There
    weights have one step a tensor; here they have one an output channel, to which a factor on rows
    is nothing, so that the ranges of activations decide.
    """
    return search_scales(network, samples, layer_places, _balancing)


def own_norms(network: nn.Module) -> None:
    """Make each LayerNorm whose readers are known a `ScaledNorm`, which computes the same."""
    for place in norm_readers(network):
        if not isinstance(place.norm, ScaledNorm):
            scaled = ScaledNorm(place.norm.normalized_shape, place.norm.eps)
            scaled.weight = nn.Parameter(place.norm.weight.detach().clone())
            scaled.bias = nn.Parameter(place.norm.bias.detach().clone())
            place.holder.set_submodule(place.name, scaled.train(place.norm.training))


def one_range(place: Place, seen: Mapping[Reader, Range]) -> list[Candidate]:
    """Nothing; every channel's extremes brought to one range; its mean and deviation brought to
    one, in full and by half (the square root of r1).
    """
    count = channels_of(place)
    read = [(part, seen[reader_of(part)]) for part in place.readers]
    high = torch.stack([taken(part, span.high, count) for part, span in read]).amax(dim=0).double()
    low = -torch.stack([taken(part, -span.low, count) for part, span in read]).amax(dim=0).double()
    mean = torch.stack([span.mean.reshape(-1, count).mean(dim=0) for _, span in read]).mean(dim=0)
    deviation = torch.stack([taken(part, span.deviation, count) for part, span in read]).amax(dim=0)
    options = [Candidate(torch.ones_like(high))]
    for bottom, top in ((low, high), (mean - deviation, mean + deviation)):
        if not place.shifts:
            step = bounded(torch.maximum(top, -bottom))
            options += [Candidate((step / step.mean()) ** power) for power in (1.0, 0.5)]
            continue
        step = bounded(top - bottom)
        for power in (1.0, 0.5):
            ratio = (step / step.mean()) ** power
            middle = (top + bottom) / 2
            # Where the common range lies: the mean zero point, in units of a channel's own step.
            shift = ratio * (middle / step).mean() * step.mean() - middle
            options.append(Candidate(ratio, shift))
    return options


def smoothing(place: Place, seen: Mapping[Reader, Range]) -> list[Candidate]:
    """Nothing, and eq. 4 of SmoothQuant by each exponent."""
    value, weight = _shares(place, seen)
    return [
        Candidate(torch.ones_like(value)),
        *(Candidate(value**a / weight ** (1 - a)) for a in EXPONENTS),
    ]


def _balancing(place: Place, seen: Mapping[Reader, Range]) -> list[Candidate]:
    """The same, and the weights' balance of section 4.1."""
    made = bounded(
        torch.stack(
            [
                outputs_first(layer, layer.weight).abs().flatten(1).amax(dim=1)[part.channels]
                for part in place.makers
                if not isinstance(layer := part.layer, nn.LayerNorm)
            ]
        ).amax(dim=0)
    )
    count = channels_of(place)
    read = bounded(
        torch.stack(
            [
                taken(part, _columns(layer, layer.weight.abs()), count)
                for part in place.readers
                if (layer := reader_of(part))
            ]
        ).amax(dim=0)
    )
    return [*smoothing(place, seen), Candidate((made / read).sqrt().double())]


def _shares(place: Place, seen: Mapping[Reader, Range]) -> tuple[Tensor, Tensor]:
    """Every channel's largest value as a share of the largest that its readers read, and its
    largest weight as a share of its output channel's; float64 [channels].
    """
    count = channels_of(place)
    values, weights = [], []
    for part in place.readers:
        layer = reader_of(part)
        largest = seen[layer].largest.double()
        values.append(bounded(taken(part, largest / largest.max().clamp(min=1e-30), count)))
        rows = outputs_first(layer, layer.weight).double().abs()
        units = rows.amax(dim=tuple(range(1, rows.dim())), keepdim=True).clamp(min=1e-30)
        weights.append(taken(part, _columns(layer, outputs_first(layer, rows / units)), count))
    return (
        torch.stack(values).log().mean(dim=0).exp(),
        bounded(torch.stack(weights).amax(dim=0)),
    )


def _columns(layer: Reader, magnitudes: Tensor) -> Tensor:
    """The largest of every input channel, of a weight's magnitudes."""
    rows = outputs_first(layer, magnitudes)
    if not isinstance(layer, nn.Linear) and layer.groups > 1:  # an output reads one input
        return rows.flatten(1).amax(dim=1).reshape(layer.groups, -1).amax(dim=1)
    return rows.transpose(0, 1).flatten(1).amax(dim=1)


def bounded(values: Tensor) -> Tensor:
    """Values above 0, the smallest raised to a share of the largest; ones where none is."""
    largest = float(values.max())
    return values.clamp(min=largest * SMALLEST) if largest > 0 else torch.ones_like(values)
