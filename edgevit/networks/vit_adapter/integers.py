"""ViT-Adapter in integers: where points are read stays float."""

from collections.abc import Iterator

from torch import nn

from edgevit.networks.integers import PATCHES, Float, Integers
from edgevit.networks.parts.places import Part, Place, joined, layer_of
from edgevit.networks.vit_adapter.deformable import DeformableAttention
from edgevit.networks.vit_adapter.network import ConvFFN, SpatialPriorModule
from edgevit.networks.vit_adapter.upernet import UPerHead


def layer_places(module: nn.Module) -> Iterator[Place]:
    """The convolutional pyramid, the convolutional MLPs, and UperNet."""
    match module:
        case SpatialPriorModule():
            yield from _prior(module)
        case ConvFFN():
            yield from joined([module.fc1], [module.dwconv.dwconv])
        case UPerHead():
            yield from _upernet(module)


def value_places(module: nn.Module) -> Iterator[Place]:
    """Values of deformable attention, read by the projection behind it."""
    if isinstance(module, DeformableAttention):
        yield Place((Part(module.value_proj),), (Part(module.output_proj),))


def _prior(module: SpatialPriorModule) -> Iterator[Place]:
    """The convolutional pyramid: each level is read by the next one and by its own
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
        yield from joined([maker], readers)


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
    yield from joined([head.fpn_bottleneck], [head.conv_seg])


INTEGERS = Integers(
    "mse",
    (
        PATCHES,
        Float(
            "*spm.stem.0",
            "reads pixels as well: 6 dB on 1/f inputs (21.4 to 27.9) for 0.7 % of the micro one's"
            " products",
        ),
        Float(
            "*.sampling_offsets*",
            "an eighth of a step of an int8 offset is a whole pixel in a map of 64",
        ),
        Float("*.attention_weights*", "a softmax over few points follows"),
    ),
    # vit-adapter-t (seeded) 30.4 to 31.0 dB by the first, the micro one 36.4 to 36.8 by the second
    edits=("smooth-norms", "equalize-layers"),
    layer_places=layer_places,
    value_places=value_places,
)
