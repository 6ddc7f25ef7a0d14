"""Building blocks of more than one architecture, named as the official projects name them."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["relu", "relu6"] | None


def activation(name: Activation) -> nn.Module:
    """The module of this name; `None` is the identity."""
    match name:
        case "relu":
            return nn.ReLU()
        case "relu6":
            return nn.ReLU6()
        case None:
            return nn.Identity()


class Network(nn.Module):
    """The root of every architecture: it knows the fixed input it was built for and the names of
    what it returns.
    """

    input_shape: tuple[int, ...] = ()
    output_names: tuple[str, ...] = ()
    preparation: str = ""  # by its name: how its weights want their pictures
    untrained: tuple[str, ...] = ()  # parts that a partial checkpoint left at their random start

    @property
    def input_size(self) -> tuple[int, ...]:
        """Height and width of the input in pixels, before them the frames of a clip."""
        return self.input_shape[2:]

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.input_shape[-2], self.input_shape[-1]


class ConvBN(nn.Module):
    """A bias-free convolution and its batch norm, children `c` and `bn` (LeViT's naming)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H', W']."""
        out: Tensor = self.bn(self.c(x))
        return out


class BNLinear(nn.Module):
    """A batch norm and the linear layer that reads it, children `bn` and `l` (LeViT's naming)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(inputs)
        self.l = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C] -> [B, C']."""
        out: Tensor = self.l(self.bn(x))
        return out


class ConvModule(nn.Module):
    """mmcv's ConvModule with a 1x1 kernel: `conv` (biased only without a norm), `bn`, `act`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        groups: int = 1,
        norm: bool = True,
        act: Activation = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, groups=groups, bias=not norm)
        if norm:
            self.bn: nn.Module = nn.BatchNorm2d(outputs)
        else:
            self.bn = nn.Identity()
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class HardSigmoid(nn.Module):
    """clip(x + 3, 0, 6) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise."""
        return F.relu6(x + 3) / 6


class Resize(nn.Module):
    """Bilinear resize with half-pixel centers (`align_corners=False`), as a module so that passes
    find it.
    """

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, C, H, W] -> [B, C, *size]."""
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class GlobalPool(nn.Module):
    """Mean over the whole map."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C]."""
        return x.mean(dim=(-2, -1))


def initialize_convs(model: nn.Module) -> None:
    """He initialization over the fan-out, batch norms at one: how the official TopFormer starts.

    Source: official TopFormer, mmseg/models/backbones/topformer.py, `init_weights`.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, std=math.sqrt(2.0 / (fan_out // module.groups)))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of [B, C, H, W] as two ints."""
    return x.shape[-2], x.shape[-1]


def cat(maps: list[Tensor]) -> Tensor:
    """Concatenate on channels."""
    return torch.cat(maps, dim=1)
