"""Rewrites of MViTv2: the class token alone in the last block, and the feature pyramid's copies of
pixels.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit.networks.mvitv2.network import Block, EverySecond, MViT, MViTPyramid, Nearest
from edgevit.networks.mvitv2.pooling_attention import shape_pooling_attention
from edgevit.networks.parts.transformer import OneToken
from edgevit.networks.system import ALL_FORMATS, Pass, alone


def ask_class_token(model: nn.Module) -> nn.Module:
    """Compute of the last block what the classifier reads.

    With R the row of the class token, which is neither pooled nor placed,
        R (pool(x) + (softmax(l) v + q) W) = R x + softmax(R q k^T s) v W  (+ R q W by `cls_query`),
    and norms and the MLP work a token: pooled queries, their positions and all patches of the MLP
    are never read. Keys and values stay whole. Needs: nothing. Leaves: the class token alone behind
    the last block.
    """
    if isinstance(model, MViT) and not model.all_outputs and isinstance(model.selected, OneToken):
        block = model.blocks[-1]
        assert isinstance(block, Block)
        block.attn.class_only = True
        model.selected = nn.Flatten(1)  # its place: the others are gone
    return model


class CopyPixels(nn.Module):
    """Nearest resize between two fixed sizes as two products with matrices of ones and zeros."""

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, ...], target: tuple[int, ...], like: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", copying_matrix(size[0], target[0], like))
        self.register_buffer("columns", copying_matrix(size[1], target[1], like))

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, H, W]."""
        x = F.linear(x, self.columns)
        return F.linear(x.transpose(-1, -2), self.rows).transpose(-1, -2)


class SkippingConv(nn.Module):
    """Every second pixel, as a depthwise convolution with one weight of 1."""

    weight: Tensor

    def __init__(self, channels: int, like: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", like.new_ones(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / 2), ceil(W / 2)]."""
        return F.conv2d(x, self.weight, stride=2, groups=self.weight.shape[0])


def copying_matrix(size: int, target: int, like: Tensor) -> Tensor:
    """[target, size]; a one in row i at the place that torch's nearest resize reads for i."""
    places = F.interpolate(torch.arange(float(size))[None, None], size=target, mode="nearest")
    return F.one_hot(places.flatten().long(), size).to(like)


def copy_pixels(model: nn.Module) -> nn.Module:
    """Write the pyramid's copies of pixels as products and a convolution.

    A nearest resize reads pixel (r_i, c_j) for (i, j): Y = R X C^T a channel, with the one of R's
    row i at r_i and that of C's row j at c_j; sums of one number and zeros are exact. A maximum
    over windows of one pixel at stride 2 is 1 * x at these. Needs: nothing. (Concatenations of a
    map with itself would be fewer operations, and XNNPACK's partitioner leaves them outside.)
    """
    for module in model.modules():
        if isinstance(module, MViTPyramid):
            _replace_resizes(module, doubling=True)
            if isinstance(module.every_second, EverySecond):
                weight = _last(module).weight.detach()
                module.every_second = SkippingConv(weight.shape[0], weight)
    return model


def copy_uneven_pixels(model: nn.Module) -> nn.Module:
    """The resizes alone, and only where a map of odd sides is not twice the coarser one.

    LiteRT's converter writes torch's nearest as the one with half-pixel centers: both read floor(i
    / 2) where a side doubles, and from 2 to 3 pixels the one reads 0, 0, 1, the other 0, 1, 1.
    """
    for module in model.modules():
        if isinstance(module, MViTPyramid):
            _replace_resizes(module, doubling=False)
    return model


def _replace_resizes(pyramid: MViTPyramid, doubling: bool) -> None:
    grids = [grid for _, grid in pyramid.bottom_up.taps.values()]  # of levels 2 to 5
    for number, (target, size) in enumerate(pairwise(grids), start=2):
        doubles = target == tuple(2 * side for side in size)
        name = f"nearest{number}"
        if isinstance(pyramid.get_submodule(name), Nearest) and (doubling or not doubles):
            pyramid.set_submodule(name, CopyPixels(size, target, _last(pyramid).weight.detach()))


def _last(pyramid: MViTPyramid) -> nn.Conv2d:
    """The convolution whose map p6 is made of; any of the pyramid would have its numbers."""
    last = pyramid.get_submodule("fpn_output5")
    assert isinstance(last, nn.Conv2d)
    return last


PASSES: tuple[Pass, ...] = (
    Pass(
        alone(ask_class_token),
        "common",
        ALL_FORMATS,
        "the same for MViTv2, whose class token goes around pooling and positions",
        before="shift-conv3d",
    ),
    Pass(
        alone(shape_pooling_attention),
        "format",
        ALL_FORMATS,
        "after the convolutions over time are shifted, and before norms' affines fold into what"
        " this leaves; at most rank 5, and the same form is the fastest in all",
        before="fold-norm-affines",
    ),
    Pass(
        alone(copy_pixels),
        "format",
        ("executorch",),
        "XNNPACK's resize is bilinear only, and its pool's stride may not exceed the window",
        before="fold-norm-affines",
    ),
    Pass(
        alone(copy_uneven_pixels),
        "format",
        ("litert", "coreml"),
        "resizes where LiteRT reads other pixels than torch; Core ML's are written down nowhere",
        before="fold-norm-affines",
    ),
)
