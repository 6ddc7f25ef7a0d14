"""3-D convolutions and pools become 2-D ones on frames, which are then shifted in time."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Triple: TypeAlias = tuple[int, int, int]


class ShiftedConv(nn.Module):
    """A grouped convolution of stride 1 in time: a 2-D convolution a tap, shifted and summed."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        bias = None if conv.bias is None else conv.bias.detach()
        weights = conv.weight.detach().unbind(2)
        # The middle tap carries the bias: it is the one that no shift moves out of the clip.
        self.taps = nn.ModuleList(
            _conv2d(conv, weight, bias if place == len(weights) // 2 else None)
            for place, weight in enumerate(weights)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C', T, H', W']."""
        return unfolded(self.on_frames(folded(x), x.shape[2]), x.shape[2])

    def on_frames(self, x: Tensor, length: int) -> Tensor:
        """Clips of `length` frames, [B T, C, H, W] -> [B T, C', H', W']."""
        middle = len(self.taps) // 2
        out: Tensor = self.taps[middle](x)
        for place, tap in enumerate(self.taps):
            if place != middle and abs(place - middle) < length:
                out = out + shifted(tap(x), middle - place, length)
        return out


class WindowConv(nn.Module):
    """A dense convolution over time: one 2-D convolution with a window's frames as channels."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        weight = conv.weight.detach()  # [C', C, taps, rows, columns]
        self.step, self.taps = conv.stride[0], weight.shape[2]
        bias = None if conv.bias is None else conv.bias.detach()
        self.conv = _conv2d(conv, weight.transpose(1, 2).flatten(1, 2), bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C', ceil(T / step), H', W']."""
        batch, channels, length, height, width = x.shape
        if length % self.step:
            x = F.pad(x, (0, 0, 0, 0, 0, -length % self.step))
        windows = -(-length // self.step)
        # A tap reads frames `step` apart: with that as an axis of its own, no slice has steps.
        x = x.reshape(batch, channels, windows, self.step, height * width)
        x = x.permute(0, 2, 3, 1, 4).reshape(-1, self.step * channels, height, width)
        taps = []
        for tap in range(self.taps):
            ahead, phase = divmod(tap - self.taps // 2, self.step)
            taps.append(shifted(x[:, phase * channels : (phase + 1) * channels], -ahead, windows))
        return unfolded(self.conv(torch.cat(taps, dim=1)), windows)


class FramePool(nn.Module):
    """The maximum over windows of single frames."""

    def __init__(self, pool: nn.MaxPool3d) -> None:
        super().__init__()
        kernel, stride, padding = _windows(pool)
        self.pool = nn.MaxPool2d(kernel[1:], stride[1:], padding[1:])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, C, T, H', W']."""
        return unfolded(self.pool(folded(x)), x.shape[2])


def shift_conv3d(model: nn.Module) -> nn.Module:
    """Write convolutions and pools over time as 2-D ones.

    With zeros beyond the clip, W_k the 2-D kernel of tap k, and m the middle of the K taps,
        y_t = sum_k conv2d(x_(s t + k - m), W_k)
    Without a stride in time (s = 1) and with groups, every tap is a depthwise convolution of all
    frames, and frame t adds what tap k made of frame t + k - m. Dense ones join the K frames that
    a y_t reads as channels: y_t = conv2d([x_(s t - m); ...; x_(s t + m)], [W_0, ..., W_(K-1)]).
    A maximum over windows of one frame is a 2-D one, and frames fold into the batch.
    Needs: nothing. Leaves what has other padding in time, dilation or a pool over several frames.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Conv3d) and _fits(module):
            if module.groups == 1:
                model.set_submodule(name, WindowConv(module))
            elif module.stride[0] == 1:
                model.set_submodule(name, ShiftedConv(module))
        elif isinstance(module, nn.MaxPool3d) and not (module.ceil_mode or module.return_indices):
            kernel, stride, padding = _windows(module)
            if (kernel[0], stride[0], padding[0]) == (1, 1, 0) and module.dilation == 1:
                model.set_submodule(name, FramePool(module))
    return model


def folded(x: Tensor) -> Tensor:
    """Clips [B, C, T, H, W] -> frames [B T, C, H, W]."""
    return x.transpose(1, 2).flatten(0, 1)


def unfolded(x: Tensor, length: int) -> Tensor:
    """Frames [B T, C, H, W] -> clips [B, C, T, H, W]."""
    return x.reshape(-1, length, *x.shape[1:]).transpose(1, 2)


def shifted(x: Tensor, by: int, length: int) -> Tensor:
    """Frames of clips [B T, C, H, W], later by `by` of them; zeros come in at the clip's ends."""
    if by == 0:
        return x
    if abs(by) >= length:
        return torch.zeros_like(x)
    if x.shape[0] > length:  # one clip alone, as a device has it, keeps its four dimensions
        return torch.cat([shifted(clip, by, length) for clip in torch.split(x, length)])
    if by > 0:
        return F.pad(x[:-by], (0, 0, 0, 0, 0, 0, by, 0))
    return F.pad(x[-by:], (0, 0, 0, 0, 0, 0, 0, -by))


def _fits(conv: nn.Conv3d) -> bool:
    taps = conv.kernel_size[0]
    centered = taps % 2 == 1 and conv.padding[0] == taps // 2
    return centered and set(conv.dilation) == {1} and conv.padding_mode == "zeros"


def _conv2d(conv: nn.Conv3d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """The 2-D convolution of a 3-D one's geometry in space with this weight."""
    assert not isinstance(conv.padding, str)  # `_fits` compared it with a number
    made = nn.Conv2d(
        weight.shape[1] * conv.groups,
        weight.shape[0],
        weight.shape[2:],  # type: ignore[arg-type]  # two ints, typed as a size
        conv.stride[1:],  # type: ignore[arg-type]  # the same
        conv.padding[1:],  # type: ignore[arg-type]  # the same
        groups=conv.groups,
        bias=bias is not None,
    )
    made.weight = nn.Parameter(weight.clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.clone())
    return made


def _windows(pool: nn.MaxPool3d) -> tuple[Triple, Triple, Triple]:
    """Kernel, stride and padding, an axis each."""
    return _triple(pool.kernel_size), _triple(pool.stride), _triple(pool.padding)


def _triple(value: int | Triple) -> Triple:
    return (value, value, value) if isinstance(value, int) else value
