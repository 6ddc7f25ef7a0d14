"""The label map inside the network."""

import pytest
import torch
import torch.nn.functional as F

from edgevit.networks.create import create_model
from edgevit.networks.parts.label_map import LabelMap


@pytest.mark.parametrize("size", [(64, 96), (72, 104), (65, 99)])
def test_upsample_then_argmax_at_the_input_size(size, filled):
    network = filled(create_model("topformer-t", input_size=size, num_classes=60))
    masked = LabelMap(network).eval()
    coarse = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    x = 3 * F.interpolate(coarse, size)  # patches, so that classes differ over the picture
    with torch.no_grad():
        mask, logits = masked(x), network(x)
    full = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    assert mask.dtype == torch.int32
    assert mask.shape == (1, *size)
    assert torch.equal(mask.long(), full.argmax(1))
    assert len(mask.unique()) > 1
    assert masked.output_names == ("mask",)
    assert masked.input_shape == network.input_shape
