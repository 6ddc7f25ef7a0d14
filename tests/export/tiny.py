"""A network of a map and a vector output, and the four files of it; a second process can write
the same ones.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgevit_export.artifact import Artifact
from edgevit_export.formats import FORMATS
from edgevit_export.lower import lower
from edgevit_export.names import Names
from edgevit_export.scheme import Scheme

NAMES = Names(("image",), ("map", "scores"))
SHAPE = (1, 3, 12, 8)


class TinyNet(nn.Module):
    """Convolutions, a pool, a product of tokens with softmax, a resize and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu6(self.depthwise(F.relu(self.conv(x))))
        tokens = F.avg_pool2d(x, 2, stride=2, count_include_pad=False)
        flat = tokens.flatten(2)
        weights = torch.bmm(flat.transpose(1, 2), flat).softmax(-1)
        mixed = torch.bmm(flat, weights.transpose(1, 2)).reshape(tokens.shape)
        up = F.interpolate(mixed, x.shape[2:], mode="bilinear", align_corners=False)
        return x + up, self.head(F.avg_pool2d(x, (12, 8), stride=(12, 8)).flatten(1))


def network() -> TinyNet:
    """The same numbers every time."""
    torch.manual_seed(0)
    return TinyNet().eval()


def write(folder: Path, format_: str, model: nn.Module | None = None, **scheme: int) -> Artifact:
    """One file of the network, or of another with the same borders."""
    entry = FORMATS[format_]
    return lower(
        model or network(),
        (torch.zeros(SHAPE),),
        format_,
        Scheme("fp32", **scheme),
        folder / f"model{entry.suffix}",
        NAMES,
    )
