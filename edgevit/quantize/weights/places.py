"""Every place of a network whose channels' scale is free, after the common passes, and how one is
rescaled.
"""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.norm_readers import Reader, norm_readers, read_scaled
from edgevit.networks.parts.places import Part, Place, chain
from edgevit.networks.parts.transformer import Attention
from edgevit.networks.passes.split_projections import Apart
from edgevit.networks.zoo import SYSTEMS


def norm_places(model: nn.Module) -> list[Place]:
    """LayerNorm's outputs, read by linear layers and convolutions."""
    return [
        Place((Part(place.norm),), tuple(Part(reader) for reader in place.readers), place.shifts)
        for place in norm_readers(model)
    ]


def value_places(model: nn.Module) -> list[Place]:
    """Values of attention, read by the projection behind it: a head's rows stay apart while it
    mixes tokens.

    Not of attention whose residual is v, whose v is in part a copy, or that adds to the same
    channels what is no value.
    """
    systems = [system.load().integers for system in SYSTEMS.values()]
    places: list[Place] = []
    for module in model.modules():
        if isinstance(module, Attention):
            # A pass may have set the projections apart.
            projection: nn.Module = module.qkv
            if isinstance(projection, Apart):
                places.append(Place((Part(projection.v),), (Part(module.proj),)))
            elif isinstance(projection, nn.Linear):
                width = projection.out_features // 3
                places.append(Place((Part(projection, 2 * width),), (Part(module.proj),)))
        for integers in systems:
            places += integers.value_places(module)
    return places


def layer_places(model: nn.Module) -> list[Place]:
    """Chains and sums of convolutions with ReLU, or nothing, between them."""
    systems = [system.load().integers for system in SYSTEMS.values()]
    places: list[Place] = []
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            places += chain(module)
        for integers in systems:
            places += integers.layer_places(module)
    return places


@torch.no_grad()
def rescale(place: Place, scale: Tensor, shift: Tensor | None = None) -> None:
    """Divide what is made by a positive scale a channel, after adding a shift, and undo both where
    it is read, in place.

    x' = (x + t) / s:  W' = W / s, b' = (b + t) / s in makers;  V' = V s, c' = c - V t in readers.
    """
    for part in place.makers:
        layer, channels = part.layer, part.channels
        assert layer.bias is not None or shift is None
        if isinstance(layer, nn.ConvTranspose2d):
            layer.weight[:, channels].div_(scale.reshape(-1, 1, 1))
        else:
            layer.weight[channels].div_(scale.reshape(-1, *(1,) * (layer.weight.dim() - 1)))
        if layer.bias is not None:
            if shift is not None:
                layer.bias[channels].add_(shift)
            layer.bias[channels].div_(scale)
    for part in place.readers:
        reader = part.layer
        assert not isinstance(reader, nn.LayerNorm)
        # x = s x' - t
        read_scaled(reader, *_spread(part, scale, shift))


def _spread(part: Part, scale: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Scale and shift of a part as those of the channels that `read_scaled` asks for."""
    if part.count is None and not part.start:
        return scale, None if shift is None else -shift
    assert shift is None
    return whole(part, scale), None


def channels_of(place: Place) -> int:
    """How many channels a place has."""
    part = place.makers[0]
    if part.count is not None:
        return part.count
    layer = part.layer
    match layer:
        case nn.LayerNorm():
            made = layer.weight.numel()
        case nn.Linear():
            made = layer.out_features
        case _:
            made = layer.out_channels
    return made - part.start


def inputs_of(layer: Reader) -> int:
    """How many channels a layer reads."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def whole(part: Part, scale: Tensor) -> Tensor:
    """A place's scale as one of all input channels of a reader: 1 elsewhere, repeated where it
    reads several tokens side by side.
    """
    layer = reader_of(part)
    inputs = inputs_of(layer)
    if part.count is None and not part.start:
        return scale.repeat(inputs // scale.numel())
    spread = scale.new_ones(inputs)
    spread[part.channels] = scale
    return spread


def taken(part: Part, values: Tensor, channels: int) -> Tensor:
    """A place's share of non-negative values an input channel of a reader: the other way."""
    if part.count is None and not part.start:
        return values.reshape(-1, channels).amax(dim=0)
    return values[part.channels]


def reader_of(part: Part) -> Reader:
    """The layer of a part that reads."""
    assert not isinstance(part.layer, nn.LayerNorm)
    return part.layer


def on_inputs(layer: Reader, scale: Tensor) -> Tensor:
    """A factor an input channel, in the shape that multiplies the layer's weight."""
    match layer:
        case nn.Linear():
            return scale
        case nn.ConvTranspose2d():
            return scale.reshape(-1, 1, 1, 1)
        case _:
            if layer.groups > 1:
                each = layer.out_channels // layer.groups
                return scale.repeat_interleave(each).reshape(-1, 1, 1, 1)
            return scale.reshape(1, -1, 1, 1)
