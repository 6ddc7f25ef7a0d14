"""LayerNorm and means over tokens in operations that XNNPACK takes."""

import torch
from torch import Tensor, nn

from edgevit.models import mvitv2
from edgevit.models.deformable import DeformableAttention
from edgevit.models.t2t_vit import (
    GhostAttention,
    GhostMlp,
    T2TViT,
    TokenPerformer,
    TokenTransformer,
)
from edgevit.models.transformer import Attention, Block, MeanToken, Mlp
from edgevit.models.vit import VisionTransformer
from edgevit.models.vit_adapter import Extractor, Injector
from edgevit.reparam.pooling_attention import PoolingAttention


class ExplicitNorm(nn.Module):
    """LayerNorm over the last dimension as two means of the last two dimensions of a 4-D view."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        affine = norm.elementwise_affine
        self.weight = nn.Parameter(norm.weight.detach().clone()) if affine else None
        bias = norm.bias if affine else None
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> the same shape."""
        x = x - mean_of_last(x)
        x = x * torch.rsqrt(mean_of_last(x * x) + self.eps)
        if self.weight is not None:
            x = x * self.weight
        return x if self.bias is None else x + self.bias


def mean_of_last(x: Tensor) -> Tensor:
    """[..., C] -> [..., 1]: the one form of a mean that XNNPACK takes."""
    mean = x.reshape(1, -1, x.shape[-1], 1).mean(dim=(-2, -1), keepdim=True)
    return mean.reshape(*x.shape[:-1], 1)


class ExplicitMeanToken(nn.Module):
    """`MeanToken` in the same form."""

    def __init__(self, mean: MeanToken) -> None:
        super().__init__()
        self.skipped, self.keepdim = mean.skipped, mean.keepdim

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, C], or [B, 1, C] with `keepdim`."""
        tokens = x[:, self.skipped :] if self.skipped else x
        mean = mean_of_last(tokens.transpose(1, 2))
        return mean.reshape(mean.shape[0], 1, -1) if self.keepdim else mean.flatten(1)


@torch.no_grad()
def fold_norm_affines(model: nn.Module) -> nn.Module:
    """Fold LayerNorm's scale and shift into the linear layers that read it.

    W (gamma * n + beta) + b = (W * gamma) n + (b + W beta), a factor an input column; a reader of
    several tokens side by side repeats gamma and beta. Needs: attention with its projections as
    linear layers. Leaves: norms without scale and shift, biases in their readers.
    """
    for module in model.modules():
        match module:
            case Block():
                _fold(module, "norm1", _projections(module.attn))
                _fold(module, "norm2", _firsts(module.mlp))
            case TokenPerformer() | TokenTransformer():
                _fold(module, "norm2", _firsts(module.mlp))
            case mvitv2.Block():
                # Where the channels double, the shortcut reads a norm too.
                first = [module.proj] if module.expands_first else []
                last = [module.proj] if module.expands_last else []
                _fold(module, "norm1", _pooling(module.attn, first))
                _fold(module, "norm2", [module.mlp.fc1, *last])
            case mvitv2.MViT(all_outputs=False):
                _fold(module, "norm", [module.head.projection])
            case VisionTransformer():
                # Both places: the one that is used lies before the other and before the classifier.
                readers = [m for m in module.pre_logits.modules() if isinstance(m, nn.Linear)]
                readers = readers or [module.head]
                if module.head_dist is None:
                    _fold(module, "norm", readers)
                    _fold(module, "fc_norm", readers)
            case T2TViT():
                _fold(module, "norm", [module.head])
            case (
                Injector(attn=DeformableAttention() as attention)
                | Extractor(attn=DeformableAttention() as attention)
            ):
                asked = [attention.sampling_offsets, attention.attention_weights]
                _fold(module, "query_norm", asked)
                _fold(module, "feat_norm", [attention.value_proj])
                if isinstance(module, Extractor) and module.with_ffn:
                    _fold(module, "ffn_norm", [module.ffn.fc1])
    return model


def explicit_norms(model: nn.Module) -> nn.Module:
    """Write out every LayerNorm over one dimension, and every mean over tokens.

    norm(x) = (x - mean x) / sqrt(mean (x - mean x)^2 + eps) * gamma + beta, as it is defined. A
    mean over dimensions -2 and -1 of [1, rows, C, 1] is XNNPACK's global average pool; it has no
    LayerNorm and no other mean.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1:
            model.set_submodule(name, ExplicitNorm(module))
        elif isinstance(module, MeanToken):
            model.set_submodule(name, ExplicitMeanToken(module))
    return model


def _projections(attention: nn.Module) -> list[nn.Linear]:
    """The linear layers that read what enters an attention; none where they are not known."""
    found: list[nn.Linear] = []
    for module in attention.modules():
        if isinstance(module, Attention):
            found += [m for m in module.qkv.modules() if isinstance(m, nn.Linear)]
        elif isinstance(module, GhostAttention):
            for part in (module.q, module.k, module.v):
                found += [m for m in part.modules() if isinstance(m, nn.Linear)]
    return found


def _pooling(attention: nn.Module, others: list[nn.Linear]) -> list[nn.Linear]:
    """The same of MViTv2's attention, with others that read beside it."""
    if not isinstance(attention, PoolingAttention):
        return []
    return [attention.q.linear, attention.k.linear, attention.v.linear, *others]


def _firsts(mlp: nn.Module) -> list[nn.Linear]:
    match mlp:
        case Mlp() | GhostMlp():
            return [mlp.fc1]
        case nn.Sequential():
            return [first] if isinstance(first := mlp[0], nn.Linear) else []
        case _:
            return []


def _fold(holder: nn.Module, name: str, readers: list[nn.Linear]) -> None:
    norm = holder.get_submodule(name)
    if not (isinstance(norm, nn.LayerNorm) and norm.elementwise_affine and readers):
        return
    for linear in readers:
        times = linear.in_features // norm.weight.numel()
        shift = linear.weight @ norm.bias.repeat(times)
        linear.bias = nn.Parameter(shift if linear.bias is None else shift + linear.bias)
        linear.weight.mul_(norm.weight.repeat(times))
    plain = nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)
    holder.set_submodule(name, plain)
