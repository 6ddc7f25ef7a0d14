"""Transposed convolutions become ordinary ones, of which their outputs are interleaved.

XNNPACK computes a transposed convolution in its slowest kernel: 4 multiply-adds a cycle on a
Cortex-A77 of the 8 that there are (LiteRT 2.3.0, executorch 1.5.1; counted, docs/performance.md).
"""

from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Window = tuple[tuple[int, ...], tuple[int, int]]  # taps of the kernel; zeros before and after


def windows(kernel: int, stride: int, padding: int) -> list[Window]:
    """What each of the `stride` outputs that belong to one input reads, along one axis.

    Output s m + r is the sum over t of input[m + b - t] W[q + s t], where q and b are remainder and
    quotient of (r + padding) / s: a convolution whose kernel has every s-th tap, backwards.
    """
    taps = kernel // stride
    found = []
    for phase in range(stride):
        ahead, first = divmod(phase + padding, stride)
        backwards = tuple(first + stride * tap for tap in reversed(range(taps)))
        found.append((backwards, (taps - 1 - ahead, ahead)))
    return found


class SplitDeconv(nn.Module):
    """`deconv`, and the activation behind it, as one convolution a phase of its stride.

    Phases that read the same columns share one convolution. Between channels-last maps all that
    interleaves them are concatenations: [h, w] [C, C] is [h, 2 w, C] as it lies.
    """

    def __init__(self, deconv: nn.ConvTranspose2d, act: nn.Module) -> None:
        super().__init__()
        self.stride = _pair(deconv.stride)
        self.channels = deconv.out_channels
        self.act = act
        self.rows = nn.ModuleList()
        self.pads: list[list[tuple[int, ...]]] = []  # columns and rows, as F.pad takes them
        sizes = zip(_pair(deconv.kernel_size), self.stride, _padding(deconv), strict=True)
        down, across = (windows(*axis) for axis in sizes)
        for taps, tall in down:
            row, pads = nn.ModuleList(), []
            for wide, group in groupby(across, key=lambda window: window[1]):
                parts = [deconv.weight[:, :, taps][..., columns] for columns, _ in group]
                weight = torch.cat(parts, dim=1).transpose(0, 1)
                row.append(_convolution(weight, deconv.bias, len(parts)))
                pads.append((*wide, *tall))
            self.rows.append(row)
            self.pads.append(pads)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', s h, s w]."""
        batch, _, height, width = x.shape
        down, across = self.stride
        last = x.permute(0, 2, 3, 1)  # where LiteRT pads without turning the map
        lines = []
        for row, pads in zip(self.rows, self.pads, strict=True):
            phases = []
            for conv, pad in zip(list(row.children()), pads, strict=True):
                read = F.pad(last, (0, 0, *pad)).permute(0, 3, 1, 2) if any(pad) else x
                phases.append(self.act(conv(read)).permute(0, 2, 3, 1))
            line = phases[0] if len(phases) == 1 else torch.cat(phases, dim=3)
            lines.append(line.reshape(batch, height, across * width, self.channels))
        whole = torch.cat(lines, dim=2)
        out = whole.reshape(batch, down * height, across * width, self.channels)
        return out.permute(0, 3, 1, 2)


def _convolution(weight: Tensor, bias: Tensor | None, times: int) -> nn.Conv2d:
    outputs, inputs, *kernel = weight.shape
    height, width = kernel
    conv = nn.Conv2d(inputs, outputs, (height, width), bias=bias is not None, dtype=weight.dtype)
    conv.weight = nn.Parameter(weight.detach().clone(memory_format=torch.contiguous_format))
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().repeat(times))
    return conv


def _pair(given: tuple[int, ...]) -> tuple[int, int]:
    height, width = given
    return height, width


def _padding(deconv: nn.ConvTranspose2d) -> tuple[int, int]:
    assert not isinstance(deconv.padding, str)  # which no transposed convolution takes
    return _pair(deconv.padding)


def splits(deconv: nn.ConvTranspose2d) -> bool:
    """Whether outputs are the stride times as many as inputs, and each reads as many taps."""
    axes = zip(
        deconv.kernel_size, deconv.stride, _padding(deconv), deconv.output_padding, strict=True
    )
    even = all(
        size % stride == 0 and size - stride == 2 * padding - more and padding <= size - stride
        for size, stride, padding, more in axes
    )
    return even and deconv.groups == 1 and deconv.dilation == (1, 1)


@torch.no_grad()
def split_deconvs(model: nn.Module) -> nn.Module:
    """Write every transposed convolution as ordinary ones.

    Needs: folded norms; a kernel that is a multiple of its stride, one group, outputs that are the
    stride times the inputs. Leaves: a `SplitDeconv`, and an identity for the ReLU that a Sequential
    has behind it.
    """
    for module in list(model.modules()):
        for name, deconv in list(module.named_children()):
            if not isinstance(deconv, nn.ConvTranspose2d) or not splits(deconv):
                continue
            act: nn.Module = nn.Identity()
            if isinstance(module, nn.Sequential):
                place = _relu_behind(module, int(name))
                if place is not None:
                    act, module[place] = module[place], nn.Identity()
            setattr(module, name, SplitDeconv(deconv, act))
    return model


def _relu_behind(sequence: nn.Sequential, place: int) -> int | None:
    """Where the ReLU that follows is; None where something else does."""
    for later in range(place + 1, len(sequence)):
        if isinstance(sequence[later], nn.ReLU):
            return later
        if not isinstance(sequence[later], nn.Identity):
            return None
    return None
