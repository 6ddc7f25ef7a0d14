"""T2T-ViT's soft splits become convolutions, their LayerNorm included: no patch is laid out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.t2t_vit.network import (
    SoftSplit,
    TokenPerformer,
    TokensToToken,
    TokenTransformer,
)


class SplitLinear(nn.Module):
    """A soft split and a linear layer, as one convolution."""

    def __init__(self, split: SoftSplit, linear: nn.Linear) -> None:
        super().__init__()
        self.conv = _conv(split, linear.weight.detach(), linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> tokens [B, H / stride * W / stride, C']."""
        out: Tensor = self.conv(x)
        return out.flatten(2).transpose(1, 2)


class InverseDeviation(nn.Module):
    """1 / sqrt(var + eps) of every patch from u and d of `unfold_to_conv`."""

    keeps_fp32 = True  # a patch of one value has a variance of 0, and fp16 hardly an eps of 1e-5

    over_patch: Tensor
    over_taps: Tensor
    eps: Tensor

    def __init__(self, split: SoftSplit, norm: nn.LayerNorm, channels: int) -> None:
        super().__init__()
        self.stride, self.padding = split.stride, split.padding
        count = split.kernel**2
        patch = (1, channels, split.kernel, split.kernel)
        # Constants, and convolutions rather than means: delegates take no mean over channels.
        for name, shape, share in (
            ("over_patch", patch, 1 / (channels * count)),
            ("over_taps", (1, count, 1, 1), 1 / count),
            ("eps", (1,), norm.eps),
        ):
            self.register_buffer(name, norm.weight.detach().new_full(shape, share))

    def forward(self, u: Tensor, d: Tensor) -> Tensor:
        """[B, C, H, W] and [B, K, h, w] -> [B, 1, h, w]."""
        variance = F.conv2d(u * u, self.over_patch, self.eps, self.stride, self.padding)
        return torch.rsqrt(variance + F.conv2d(d * d, self.over_taps))


class SplitNormLinear(nn.Module):
    """A soft split, a LayerNorm over each patch and a linear layer; see `unfold_to_conv`."""

    over_channels: Tensor
    over_taps: Tensor
    taps: Tensor

    def __init__(self, split: SoftSplit, norm: nn.LayerNorm, linear: nn.Linear) -> None:
        super().__init__()
        side, count = split.kernel, split.kernel**2
        weight = linear.weight.detach() * norm.weight.detach()
        by_tap = weight.reshape(weight.shape[0], -1, count)
        channels = by_tap.shape[1]
        # Both factors below sum to zero, so that each weight may be centered over that sum: what
        # rounding leaves of a mean in its input then meets a zero.
        within = by_tap - by_tap.mean(dim=1, keepdim=True)
        between = by_tap.sum(dim=1)
        between = between - between.mean(dim=1, keepdim=True)
        self.stride, self.padding = split.stride, split.padding
        self.within = _conv(split, within.flatten(1))
        self.between = nn.Conv2d(count, weight.shape[0], 1, bias=False)
        self.between.weight = nn.Parameter(between[..., None, None].clone())
        shift = linear.weight.detach() @ norm.bias.detach()
        if linear.bias is not None:
            shift = shift + linear.bias.detach()
        self.shift = nn.Parameter(shift.reshape(-1, 1, 1))
        self.inverse_deviation = InverseDeviation(split, norm, channels)
        each = torch.eye(count, dtype=weight.dtype, device=weight.device)
        self.register_buffer("taps", each.reshape(count, 1, side, side))
        over_channels = weight.new_full((1, channels, 1, 1), 1 / channels)
        self.register_buffer("over_channels", over_channels)
        self.register_buffer("over_taps", self.inverse_deviation.over_taps.clone())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> tokens [B, H / stride * W / stride, C']."""
        center = F.conv2d(x, self.over_channels)
        u = x - center
        taps = F.conv2d(center, self.taps, stride=self.stride, padding=self.padding)
        d = taps - F.conv2d(taps, self.over_taps)
        out: Tensor = (self.within(u) + self.between(d)) * self.inverse_deviation(u, d)
        out = out + self.shift
        return out.flatten(2).transpose(1, 2)


def unfold_to_conv(model: nn.Module) -> nn.Module:
    """Write each soft split of T2T-ViT, with the layers it feeds, as convolutions.

    A linear layer over patches is a convolution: a patch's order, channel, row, column, is that of
    a weight. With a LayerNorm before it, p_ck the patch's value of channel c at position k, zeros
    of the padding included, n = C * K of them, and W' = W * gamma:
        W norm(p) + b = W' (p - mu) / sqrt(var + eps) + (W beta + b)
    Split each value into its pixel's mean over channels and the rest,
        m_k = mean_c p_ck,   u_ck = p_ck - m_k,   d_k = m_k - mu:   p_ck - mu = u_ck + d_k
        var           = mean_ck u_ck^2      + mean_k d_k^2              (sum_c u_ck = 0)
        W' (p - mu)_o = sum_ck W'_ock u_ck  + sum_k (sum_c W'_ock) d_k
    u = x - mean_c x is a map, so its sums are convolutions of the split's stride and padding; d has
    K channels, made from the one-channel map m by a convolution with unit kernels. W' may lose its
    mean over c in the first sum, over k in the second.
    The shorter form, conv(x, W') - mu * sum W' with var = E[x^2] - mu^2, subtracts large
    neighbors: fp32 is off by 3e-4 on a white wall and by 3e-3 on maps with mean 5 and deviation
    0.1, where this one stays as near as the LayerNorm itself, and a weight's rounding to int8 would
    scale with the mean instead of the deviation.
    Needs: nothing. Leaves: convolutions that give tokens in the place of the splits, identities in
    those of the norm and the linear layer.
    """
    for module in model.modules():
        if isinstance(module, TokensToToken):
            _enter(module, "soft_split0", module.attention1)
            _enter(module, "soft_split1", module.attention2)
            if isinstance(module.soft_split2, SoftSplit):
                conv = SplitLinear(module.soft_split2, module.project)
                module.soft_split2 = conv  # type: ignore[assignment]  # its place, as a convolution
                module.project = nn.Identity()  # type: ignore[assignment]  # the place stays, empty
    return model


def _enter(module: TokensToToken, name: str, attention: TokenPerformer | TokenTransformer) -> None:
    """The split of this name with the norm and the projection of the attention behind it."""
    split = module.get_submodule(name)
    if not isinstance(split, SoftSplit):
        return
    key = "kqv" if isinstance(attention, TokenPerformer) else "attn.qkv"
    linear = attention.get_submodule(key)
    assert isinstance(linear, nn.Linear)
    module.set_submodule(name, SplitNormLinear(split, attention.norm1, linear))
    attention.set_submodule("norm1", nn.Identity())
    attention.set_submodule(key, nn.Identity())


def _conv(split: SoftSplit, weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """The convolution that multiplies each patch by [C', patch]."""
    side = (split.kernel, split.kernel)
    kernel = weight.reshape(weight.shape[0], -1, *side)
    outputs, inputs = kernel.shape[:2]
    conv = nn.Conv2d(inputs, outputs, side, split.stride, split.padding, bias=bias is not None)
    conv.weight = nn.Parameter(kernel.clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone())
    return conv
