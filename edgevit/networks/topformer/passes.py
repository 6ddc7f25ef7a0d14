"""Rewrites of TopFormer: its attention, its head's fuse, its gates, its pools, its token groups."""

import torch
from torch import Tensor, nn

from edgevit.networks.parts.layers import ConvModule, HardSigmoid, cat
from edgevit.networks.passes.fix_pools import fixed_pool, map_sizes
from edgevit.networks.system import ALL_FORMATS, Pass, alone
from edgevit.networks.topformer.network import (
    Attention,
    Backbone,
    InjectionMultiply,
    InjectionMultiSum,
    InjectionSum,
    PyramidPool,
    SimpleHead,
)


class StackedAttention(nn.Module):
    """The attention with one projection, and the heads in the batch of 3-D products."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads, self.proj = attention.heads, attention.proj
        convs = [attention.to_q.c, attention.to_k.c, attention.to_v.c]
        self.sizes = [conv.out_channels for conv in convs]
        self.qkv = _stacked(convs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> the same shape."""
        batch, _, height, width = x.shape
        groups, tokens = batch * self.heads, height * width
        parts = self.qkv(x).split(self.sizes, dim=1)
        q, k, v = (part.reshape(groups, -1, tokens) for part in parts)
        weights = torch.bmm(q.transpose(1, 2), k).softmax(dim=-1)
        mixed = torch.bmm(v, weights.transpose(1, 2))
        out: Tensor = self.proj(mixed.reshape(batch, -1, height, width))
        return out


def stack_attention(model: nn.Module) -> nn.Module:
    """Stack the three projections and fold the heads into the batch.

    [q; k; v] = [W_q; W_k; W_v] x + [b_q; b_k; b_v]; a head's rows of softmax(q^T k) v^T are the
    same product whether heads are a fourth dimension or part of the first. Needs: batch norms
    folded.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Attention):
            model.set_submodule(name, StackedAttention(module))
    return model


@torch.no_grad()
def _stacked(convs: list[nn.Conv2d]) -> nn.Conv2d:
    first = convs[0]
    outputs = sum(conv.out_channels for conv in convs)
    stacked = nn.Conv2d(first.in_channels, outputs, 1, dtype=first.weight.dtype)
    stacked.weight.copy_(torch.cat([conv.weight for conv in convs]))
    biases = [conv.bias for conv in convs if conv.bias is not None]
    assert stacked.bias is not None
    stacked.bias.copy_(torch.cat(biases))
    return stacked


def fold_depthwise_fuse(model: nn.Module) -> nn.Module:
    """Fold a depthwise 1x1 convolution (a channel's scale a and shift b) through sums and resizes.

    a * (s8 + up(s16) + up(s32)) + b, where s = local * gate + up(embed) (or local + up(embed)), so
    with
        local' = a * local,  embed' = a * embed  at each of the three scales, and b added to embed'
        at 1/8,
    because a bilinear resize is linear and its weights sum to one. Only injections whose local and
    embed are linear (no ReLU of `muli_sum_cbr`) and that have an additive part (not `fuse_multi`)
    qualify; others keep the convolution. Needs: batch norms folded. Leaves: an identity where the
    convolution was; its ReLU stays.
    """
    backbones = [m for m in model.modules() if isinstance(m, Backbone)]
    heads = [m for m in model.modules() if isinstance(m, SimpleHead)]
    if not (backbones and heads):
        return model
    injections, fuse = list(backbones[0].SIM)[1:], heads[0].linear_fuse
    conv = fuse.conv
    if not isinstance(conv, nn.Conv2d) or conv.groups != conv.in_channels or conv.bias is None:
        return model
    pairs = [_linear_pair(injection) for injection in injections]
    if any(pair is None for pair in pairs):
        return model
    scale = conv.weight.detach().reshape(-1)
    for index, pair in enumerate(p for p in pairs if p is not None):
        local, embed = pair
        _rescale(local.conv, scale)
        _rescale(embed.conv, scale, conv.bias.detach() if index == 0 else None)
    fuse.conv = nn.Identity()  # type: ignore[assignment]  # the convolution's place stays, empty
    return model


def _linear_pair(injection: nn.Module) -> tuple[ConvModule, ConvModule] | None:
    """The local and the additive branch, where both are linear."""
    match injection:
        case InjectionMultiSum():
            pair = injection.local_embedding, injection.global_embedding
        case InjectionSum():
            pair = injection.fuse1, injection.fuse2
        case _:
            return None
    linear = all(isinstance(branch.act, nn.Identity) for branch in pair)
    return pair if linear else None


@torch.no_grad()
def _rescale(conv: nn.Conv2d, scale: Tensor, shift: Tensor | None = None) -> None:
    assert conv.bias is not None
    conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
    conv.bias.mul_(scale)
    if shift is not None:
        conv.bias.add_(shift)


def fold_hard_sigmoids(model: nn.Module) -> nn.Module:
    """Fold the shift of each gate into its own convolution, its scale into the other factor's.

    local * up(clip(Wx + b + 3, 0, 6) / 6) = (local / 6) * up(clip(Wx + b', 0, 6)) with b' = b + 3,
    because a resize is linear; a ReLU on local lets a positive factor through. LiteRT's delegate
    takes ReLU6 and leaves a clip to 0..1 outside.
    Needs: batch norms folded. Leaves: ReLU6 in the place of HardSigmoid.
    """
    for module in model.modules():
        match module:
            case InjectionMultiSum(gate=HardSigmoid()):
                _fold(module.global_act, module.local_embedding)
            case InjectionMultiply(gate=HardSigmoid()):
                _fold(module.fuse2, module.fuse1)
            case _:
                continue
        module.gate = nn.ReLU6()  # type: ignore[assignment]  # the gate's place, another gate
    return model


@torch.no_grad()
def _fold(gate: ConvModule, factor: ConvModule) -> None:
    assert gate.conv.bias is not None
    assert factor.conv.bias is not None
    gate.conv.bias.add_(3)
    factor.conv.weight.div_(6)
    factor.conv.bias.div_(6)


class FixedPyramidPool(nn.Module):
    """PyramidPool for one input size: a pool a map."""

    def __init__(self, pools: list[nn.Module]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four [B, C_i, H_i, W_i] -> [B, sum C_i, h, w]."""
        return cat([pool(x) for pool, x in zip(self.pools, maps, strict=True)])


def fix_pools(model: nn.Module, example: Tensor) -> nn.Module:
    """Replace the pyramid's pools by what they are at the example's size, a map at a time, as
    `passes.fix_pools` does.
    """
    pyramids = {n: m for n, m in model.named_modules() if isinstance(m, PyramidPool)}
    for name, shapes in map_sizes(model, pyramids, example).items():
        stride, (height, width) = pyramids[name].stride, shapes[-1]
        grid = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        pools = [fixed_pool(size, grid, example.dtype) for size in shapes]
        model.set_submodule(name, FixedPyramidPool(pools))
    return model


PASSES: tuple[Pass, ...] = (
    Pass(
        alone(fold_hard_sigmoids),
        "common",
        ALL_FORMATS,
        "after the norms: the shift goes into the bias they left",
        before="fix-pools",
    ),
    Pass(
        alone(fold_depthwise_fuse),
        "common",
        ALL_FORMATS,
        "after the norms: removes the head's only operation of its own at 1/8",
        before="fix-pools",
    ),
    Pass(
        fix_pools,
        "common",
        ALL_FORMATS,
        "no runtime's delegate takes an adaptive pool; the input size is fixed by now",
        before="fold-deconv-norms",
    ),
    Pass(
        alone(stack_attention),
        "format",
        ("onnx", "litert", "coreml"),
        "after weight edits, which want q, k and v apart; one wide projection is faster than three",
        before="split-projections",
    ),
)
