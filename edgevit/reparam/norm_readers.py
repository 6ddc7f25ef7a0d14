"""Which layers read which LayerNorm, for every architecture, before and after its attention is
rewritten.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgevit.models import mvitv2, vitpose
from edgevit.models.deformable import DeformableAttention
from edgevit.models.t2t_vit import (
    GhostAttention,
    GhostMlp,
    T2TViT,
    TokenPerformer,
    TokenTransformer,
)
from edgevit.models.transformer import Attention, Block, Mlp
from edgevit.models.vit import VisionTransformer
from edgevit.models.vit_adapter import Extractor, Injector
from edgevit.reparam.pooling_attention import PoolingAttention

Reader = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


class ScaledNorm(nn.LayerNorm):
    """A LayerNorm whose scale and shift were chosen for the integers that its readers see: passes
    leave both where they are.
    """


@dataclass(frozen=True, slots=True)
class NormReaders:
    """A norm by its holder and name there, and all that reads it.

    `shifts`: a constant a channel may move from the norm into its readers' biases. Where a reader
    is padded or a ReLU lies between, only a positive factor may.
    """

    holder: nn.Module
    name: str
    norm: nn.LayerNorm
    readers: tuple[Reader, ...]
    shifts: bool = True


def norm_readers(model: nn.Module) -> list[NormReaders]:
    """Every LayerNorm with scale and shift whose readers are all known and take any scale."""
    found = []
    for holder, name, readers, shifts in _places(model):
        norm = holder.get_submodule(name)
        if isinstance(norm, nn.LayerNorm) and norm.elementwise_affine and readers:
            found.append(NormReaders(holder, name, norm, tuple(readers), shifts))
    return found


def _places(model: nn.Module) -> Iterator[tuple[nn.Module, str, list[Reader], bool]]:
    for module in model.modules():
        match module:
            case Block():
                yield module, "norm1", projections(module.attn), True
                yield module, "norm2", _firsts(module.mlp), True
            case TokenPerformer() | TokenTransformer():
                yield module, "norm2", _firsts(module.mlp), True
            case mvitv2.Block():
                # Where the channels double, the shortcut reads a norm too.
                first: list[Reader] = [module.proj] if module.expands_first else []
                last: list[Reader] = [module.proj] if module.expands_last else []
                asked = _pooling(module.attn)
                yield module, "norm1", [*asked, *first] if asked else [], True
                yield module, "norm2", [module.mlp.fc1, *last], True
            case mvitv2.MViT(all_outputs=False):
                yield module, "norm", [module.head.projection], True
            case mvitv2.MViTPyramid(all_outputs=False):
                for scale, _ in module.bottom_up.taps.values():
                    lateral = module.get_submodule(f"fpn_lateral{scale[-1]}")
                    assert isinstance(lateral, nn.Conv2d)
                    yield module.bottom_up, f"{scale}_norm", [lateral], True
            case VisionTransformer(all_outputs=False, head_dist=None):
                # Both places: the one that is used lies before the other and before the classifier.
                readers: list[Reader] = [
                    m for m in module.pre_logits.modules() if isinstance(m, nn.Linear)
                ]
                yield module, "norm", readers or [module.head], True
                yield module, "fc_norm", readers or [module.head], True
            case T2TViT(all_outputs=False):
                yield module, "norm", [module.head], True
            case vitpose.ViTPose(all_outputs=False):
                yield module.backbone, "last_norm", _decoder(module.keypoint_head), False
            case (
                Injector(attn=DeformableAttention() as attention)
                | Extractor(attn=DeformableAttention() as attention)
            ):
                offsets: list[Reader] = [attention.sampling_offsets, attention.attention_weights]
                yield module, "query_norm", offsets, True
                yield module, "feat_norm", [attention.value_proj], True
                if isinstance(module, Extractor) and module.with_ffn:
                    yield module, "ffn_norm", [module.ffn.fc1], True


def projections(attention: nn.Module) -> list[Reader]:
    """The linear layers that read what enters an attention; none where they are not known."""
    found: list[Reader] = []
    for module in attention.modules():
        if isinstance(module, Attention):
            found += [m for m in module.qkv.modules() if isinstance(m, nn.Linear)]
        elif isinstance(module, GhostAttention):
            for part in (module.q, module.k, module.v):
                found += [m for m in part.modules() if isinstance(m, nn.Linear)]
    return found


def _pooling(attention: nn.Module) -> list[Reader]:
    """The same of MViTv2's attention, whole or rewritten."""
    match attention:
        case PoolingAttention():
            return [attention.q.linear, attention.k.linear, attention.v.linear]
        case mvitv2.Attention():
            return [attention.qkv]
        case _:
            return []


def _firsts(mlp: nn.Module) -> list[Reader]:
    match mlp:
        case Mlp() | GhostMlp():
            return [mlp.fc1]
        case nn.Sequential():
            return [first] if isinstance(first := mlp[0], nn.Linear) else []
        case _:
            return []


def _decoder(head: nn.Module) -> list[Reader]:
    """The padded convolution at the start of either of ViTPose's decoders."""
    match head:
        case vitpose.ClassicHead():
            first = head.deconv_layers[0]
            return [first] if isinstance(first, nn.ConvTranspose2d) else []
        case vitpose.SimpleHead():
            return [head.final_layer]
        case _:
            return []


@torch.no_grad()
def read_scaled(reader: Reader, factor: Tensor, shift: Tensor | None = None) -> None:
    """Have a layer read factor * x + shift instead of x, in place.

    W (f * x + t) + b = (W * f) x + (b + W t), a factor an input channel. A linear layer over
    several tokens side by side repeats both. A shift takes a layer without padding.
    """
    weight = reader.weight
    if isinstance(reader, nn.Linear):
        times = reader.in_features // factor.numel()
        by_input = factor.repeat(times)
        moved = None if shift is None else weight @ shift.repeat(times)
    elif isinstance(reader, nn.ConvTranspose2d):
        assert shift is None
        by_input, moved = factor.reshape(-1, 1, 1, 1), None
    elif reader.groups == reader.in_channels and reader.groups > 1:
        assert shift is None
        by_input, moved = (
            factor.repeat_interleave(reader.out_channels // reader.groups).reshape(-1, 1, 1, 1),
            None,
        )
    else:
        assert reader.groups == 1
        by_input = factor.reshape(1, -1, 1, 1)
        moved = None if shift is None else weight.sum(dim=(2, 3)) @ shift
    if moved is not None:
        reader.bias = nn.Parameter(moved if reader.bias is None else moved + reader.bias)
    weight.mul_(by_input)
