"""Where a channel's scale is free: what makes a channel and everything that reads it, by the
architecture, on networks after the common passes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from edgevit.models import topformer, transformer, vitpose
from edgevit.models.deformable import DeformableAttention
from edgevit.models.layers import ConvBN, ConvModule
from edgevit.models.mvitv2 import MViTPyramid
from edgevit.models.upernet import UPerHead
from edgevit.models.vit_adapter import ConvFFN, SpatialPriorModule
from edgevit.reparam.norm_readers import Reader, norm_readers, read_scaled
from edgevit.reparam.split_projections import Apart

Maker = Reader | nn.LayerNorm


@dataclass(frozen=True, slots=True)
class Part:
    """Channels of a layer's output (as a maker) or input (as a reader): `count` from `start` on;
    None: all of them.
    """

    layer: Maker
    start: int = 0
    count: int | None = None

    @property
    def channels(self) -> slice:
        """As a slice of the layer's channels."""
        return slice(self.start, None if self.count is None else self.start + self.count)


@dataclass(frozen=True, slots=True)
class Place:
    """The channels of `makers`, added or passed on by what commutes with a positive factor a
    channel (ReLU, pools, resizes, mixing of tokens), are read by `readers` and nothing else.

    `shifts`: a constant a channel passes too, up to the readers' biases.
    """

    makers: tuple[Part, ...]
    readers: tuple[Part, ...]
    shifts: bool = False


def norm_places(model: nn.Module) -> list[Place]:
    """LayerNorm's outputs, read by linear layers and convolutions."""
    return [
        Place((Part(place.norm),), tuple(Part(reader) for reader in place.readers), place.shifts)
        for place in norm_readers(model)
    ]


def value_places(model: nn.Module) -> list[Place]:
    """Values of attention, read by the projection behind it: a head's rows stay apart while it
    mixes tokens.

    Not T2T-ViT's token attention, whose residual is v, nor its ghost attention, whose v is in part
    a copy, nor MViTv2's, which adds the queries to the same channels; TopFormer's has a ReLU6 in
    between.
    """
    found = []
    for module in model.modules():
        match module:
            case transformer.Attention():
                # A pass may have set the projections apart.
                projection: nn.Module = module.qkv
                if isinstance(projection, Apart):
                    found.append(Place((Part(projection.v),), (Part(module.proj),)))
                elif isinstance(projection, nn.Linear):
                    width = projection.out_features // 3
                    found.append(Place((Part(projection, 2 * width),), (Part(module.proj),)))
            case DeformableAttention():
                found.append(Place((Part(module.value_proj),), (Part(module.output_proj),)))
    return found


def layer_places(model: nn.Module) -> list[Place]:
    """Chains and sums of convolutions with ReLU, or nothing, between them.

    ReLU6 ends a chain: its bound of 6 would have to become one a channel, 6 / s, which no runtime
    has.
    """
    found: list[Place] = []
    for module in model.modules():
        match module:
            case nn.Sequential():
                found += _chain(module)
            case topformer.Mlp():
                found += _joined([module.fc1], [module.dwconv])
            case topformer.TopFormer(all_outputs=False):
                found += _streams(module.backbone.tpm, module.backbone.trans, module.backbone.SIM)
                found += _injected(module)
            case topformer.TopFormerFeatures(all_outputs=False):
                found += _streams(module.backbone.tpm, module.backbone.trans, module.backbone.SIM)
            case topformer.TopFormerClassifier(all_outputs=False, head=head):
                if isinstance(head.bn, nn.Identity):
                    found += _streams(module.tpm, module.trans, None, head.l)
            case vitpose.ClassicHead():
                found += _joined([module.deconv_layers[3]], [module.final_layer])
            case SpatialPriorModule():
                found += _prior(module)
            case ConvFFN():
                found += _joined([module.fc1], [module.dwconv.dwconv])
            case UPerHead():
                found += _upernet(module)
            case MViTPyramid(all_outputs=False):
                laterals = [module.get_submodule(f"fpn_lateral{n}") for n in range(2, 6)]
                outputs = [module.get_submodule(f"fpn_output{n}") for n in range(2, 6)]
                found += _joined(laterals, outputs)
    return found


def _chain(sequence: nn.Sequential) -> Iterator[Place]:
    """Neighbors in a Sequential with nothing but ReLU and identities between them."""
    layers = [m for m in sequence if not isinstance(m, nn.ReLU | nn.Identity | nn.MaxPool2d)]
    for maker, reader in pairwise(layers):
        yield from _joined([maker], [reader])


def _joined(makers: list[nn.Module], readers: list[nn.Module]) -> list[Place]:
    """One place of all these, or none where one of them is no plain layer."""
    made, read = [layer_of(m) for m in makers], [layer_of(m) for m in readers]
    if not (made and read) or None in made or None in read:
        return []
    return [
        Place(
            tuple(Part(m) for m in made if m is not None),
            tuple(Part(r) for r in read if r is not None),
        )
    ]


def layer_of(module: nn.Module) -> Reader | None:
    """The layer itself or the convolution of a holder whose norm is folded; else None."""
    match module:
        case ConvBN(bn=nn.Identity()):
            return module.c
        case ConvModule(bn=nn.Identity()):
            conv = module.conv
            return conv if isinstance(conv, nn.Conv2d) else None
        case nn.Linear() | nn.Conv2d() | nn.ConvTranspose2d():
            return module
        case _:
            return None


def _streams(
    pyramid: topformer.TokenPyramid,
    tokens: topformer.Transformer,
    injections: nn.ModuleList | None,
    classifier: nn.Linear | None = None,
) -> Iterator[Place]:
    """TopFormer's residual streams: no norm in them, so that every channel of the four maps and
    of the tokens, which are the pooled maps side by side, has a free scale from what writes it to
    what reads it.
    """
    stem = layer_of(pyramid.stem[0])
    makers: list[Reader | None] = [stem]
    readers: list[Reader | None] = []
    start, tap = 0, -1
    held: tuple[list[Part], list[Part]] = ([], [])  # of the tokens
    for index, name in enumerate(pyramid.layers):
        block = pyramid.get_submodule(name)
        assert isinstance(block, topformer.InvertedResidual)
        readers.append(layer_of(block.conv[0]))
        if not block.residual:
            yield from _stream(makers, readers, held)
            makers, readers, held = [], [], ([], [])
        makers.append(layer_of(block.conv[-1]))
        if index in pyramid.taps:
            tap += 1
            last = makers[-1]
            width = last.out_channels if isinstance(last, nn.Conv2d) else 0
            held = _tokens(tokens, slice(start, start + width), classifier)
            if injections is not None:
                local, semantic = _injection(injections[tap])
                readers += local
                held[1].extend(Part(m) for m in semantic)
            start += width
    yield from _stream(makers, readers, held)


def _stream(
    makers: list[Reader | None], readers: list[Reader | None], held: tuple[list[Part], list[Part]]
) -> Iterator[Place]:
    if None in makers or None in readers:
        return
    written = [Part(m) for m in makers if m is not None] + held[0]
    read = [Part(r) for r in readers if r is not None] + held[1]
    if read:
        yield Place(tuple(written), tuple(read))


def _tokens(
    transformer_: topformer.Transformer, part: slice, classifier: nn.Linear | None
) -> tuple[list[Part], list[Part]]:
    """What writes and what reads these channels of the tokens."""
    makers, readers, count = [], [], part.stop - part.start
    for block in transformer_.transformer_blocks:
        assert isinstance(block, topformer.Block)
        attention, mlp = block.attn, block.mlp
        makers += [attention.proj[1], mlp.fc2]
        readers += [attention.to_q, attention.to_k, attention.to_v, mlp.fc1]
    written = [Part(layer, part.start, count) for m in makers if (layer := layer_of(m))]
    read = [Part(layer, part.start, count) for m in readers if (layer := layer_of(m))]
    if classifier is not None:
        read.append(Part(classifier, part.start, count))
    return written, read


def _injection(module: nn.Module) -> tuple[list[Reader | None], list[Reader]]:
    """What of an injection reads its map, and what its tokens."""
    match module:
        case topformer.InjectionMultiSum():
            semantic: list[nn.Module] = [module.global_embedding, module.global_act]
            local: list[nn.Module] = [module.local_embedding]
        case topformer.InjectionSum() | topformer.InjectionMultiply():
            local, semantic = [module.fuse1], [module.fuse2]
        case _:
            return [], []
    return [layer_of(m) for m in local], [layer for m in semantic if (layer := layer_of(m))]


def _injected(network: topformer.TopFormer) -> Iterator[Place]:
    """The sum of the injected maps, read by the head; a gate is a factor and not scaled."""
    makers: list[nn.Module] = []
    for module in network.backbone.SIM:
        match module:
            case topformer.InjectionMultiSum():
                makers += [module.local_embedding, module.global_embedding]
            case topformer.InjectionSum():
                makers += [module.fuse1, module.fuse2]
            case topformer.InjectionMultiply():
                makers.append(module.fuse1)
    fuse, classifier = network.decode_head.linear_fuse, network.decode_head.conv_seg
    if isinstance(fuse.conv, nn.Identity):
        yield from _joined(makers, [classifier])
    else:
        yield from _joined(makers, [fuse])
        yield from _joined([fuse], [classifier])


def _prior(module: SpatialPriorModule) -> Iterator[Place]:
    """ViT-Adapter's convolutional pyramid: each level is read by the next one and by its own
    projection.
    """
    last = [m for m in module.stem if isinstance(m, nn.Conv2d)][-1]
    levels: tuple[tuple[nn.Module, list[nn.Module]], ...] = (
        (last, [module.conv2[0], module.fc1]),
        (module.conv2[0], [module.conv3[0], module.fc2]),
        (module.conv3[0], [module.conv4[0], module.fc3]),
        (module.conv4[0], [module.fc4]),
    )
    for maker, readers in levels:
        yield from _joined([maker], readers)


def _upernet(head: UPerHead) -> Iterator[Place]:
    """UperNet's top-down sums, and what its 3x3 convolutions make of them."""
    bottleneck, fused = layer_of(head.bottleneck), layer_of(head.fpn_bottleneck)
    laterals = [layer_of(m) for m in head.lateral_convs]
    outputs = [layer_of(m) for m in head.fpn_convs]
    if bottleneck is None or fused is None or None in laterals or None in outputs:
        return
    assert isinstance(bottleneck, nn.Conv2d)
    width = bottleneck.out_channels
    sums = [Part(layer) for layer in (bottleneck, *laterals) if layer is not None]
    read = [Part(layer) for layer in outputs if layer is not None]
    yield Place(tuple(sums), (*read, Part(fused, len(read) * width, width)))
    for index, part in enumerate(read):
        yield Place((part,), (Part(fused, index * width, width),))
    yield from _joined([head.fpn_bottleneck], [head.conv_seg])


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
