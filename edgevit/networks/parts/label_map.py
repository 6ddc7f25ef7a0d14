"""A segmentation network that returns the label map itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgevit.networks.parts.layers import Network


class LabelMap(Network):
    """Logits, resized to the input size, and the best class a pixel."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.input_shape = network.input_shape
        self.output_names = ("mask",)

    def forward(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] -> int32 [1, H, W]."""
        logits = self.network(x)
        full = F.interpolate(logits, self.picture_size, mode="bilinear", align_corners=False)
        return full.argmax(dim=1).to(torch.int32)
