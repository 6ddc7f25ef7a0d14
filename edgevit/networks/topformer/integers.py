"""TopFormer in integers: its residual streams, and what evens them out."""

from collections.abc import Iterator

from torch import nn

from edgevit.networks.integers import Integers
from edgevit.networks.parts.norm_readers import Reader
from edgevit.networks.parts.places import Part, Place, joined, layer_of
from edgevit.networks.topformer import network


def layer_places(module: nn.Module) -> Iterator[Place]:
    """The streams of the pyramid and the tokens, the sums of the injections, the MLPs.

    ReLU6 ends a chain: its bound of 6 would have to become one a channel, 6 / s, which no runtime
    has. Attention's values have one in between.
    """
    match module:
        case network.Mlp():
            yield from joined([module.fc1], [module.dwconv])
        case network.TopFormer(all_outputs=False):
            yield from _streams(module.backbone.tpm, module.backbone.trans, module.backbone.SIM)
            yield from _injected(module)
        case network.TopFormerFeatures(all_outputs=False):
            yield from _streams(module.backbone.tpm, module.backbone.trans, module.backbone.SIM)
        case network.TopFormerClassifier(all_outputs=False, head=head):
            if isinstance(head.bn, nn.Identity):
                yield from _streams(module.tpm, module.trans, None, head.l)


def _streams(
    pyramid: network.TokenPyramid,
    tokens: network.Transformer,
    injections: nn.ModuleList | None,
    classifier: nn.Linear | None = None,
) -> Iterator[Place]:
    """The residual streams: no norm in them, so that every channel of the four maps and
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
        assert isinstance(block, network.InvertedResidual)
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
    transformer_: network.Transformer, part: slice, classifier: nn.Linear | None
) -> tuple[list[Part], list[Part]]:
    """What writes and what reads these channels of the tokens."""
    makers, readers, count = [], [], part.stop - part.start
    for block in transformer_.transformer_blocks:
        assert isinstance(block, network.Block)
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
        case network.InjectionMultiSum():
            semantic: list[nn.Module] = [module.global_embedding, module.global_act]
            local: list[nn.Module] = [module.local_embedding]
        case network.InjectionSum() | network.InjectionMultiply():
            local, semantic = [module.fuse1], [module.fuse2]
        case _:
            return [], []
    return [layer_of(m) for m in local], [layer for m in semantic if (layer := layer_of(m))]


def _injected(model: network.TopFormer) -> Iterator[Place]:
    """The sum of the injected maps, read by the head; a gate is a factor and not scaled."""
    makers: list[nn.Module] = []
    for module in model.backbone.SIM:
        match module:
            case network.InjectionMultiSum():
                makers += [module.local_embedding, module.global_embedding]
            case network.InjectionSum():
                makers += [module.fuse1, module.fuse2]
            case network.InjectionMultiply():
                makers.append(module.fuse1)
    fuse, classifier = model.decode_head.linear_fuse, model.decode_head.conv_seg
    if isinstance(fuse.conv, nn.Identity):
        yield from joined(makers, [classifier])
    else:
        yield from joined(makers, [fuse])
        yield from joined([fuse], [classifier])


INTEGERS = Integers(
    "mse",
    edits=("equalize-layers",),  # topformer-t 18.5 to 30.5 dB; biases corrected too: 30.3
    layer_places=layer_places,
)
