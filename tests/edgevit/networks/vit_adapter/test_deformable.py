"""Deformable attention's reference points and start; test_vit_adapter.py restates the rest."""

import torch

from edgevit.networks.vit_adapter.deformable import (
    DeformableAttention,
    initialize_deformable,
    reference_points,
)


def test_reference_points_are_pixel_centers_x_first():
    points = reference_points(((1, 2), (2, 1)))
    wanted = [(0.25, 0.5), (0.75, 0.5), (0.5, 0.25), (0.5, 0.75)]
    assert points.dtype == torch.float32
    assert points.tolist() == [list(point) for point in wanted]


def test_no_checkpoint_holds_the_geometry():
    attention = DeformableAttention(8, 2, 4, 1.0, ((2, 2),), ((2, 2),))
    names = {key.partition(".")[0] for key in attention.state_dict()}
    assert names == {"sampling_offsets", "attention_weights", "value_proj", "output_proj"}


def test_deformable_attention_starts_as_the_official_one():
    attention = DeformableAttention(16, 4, 3, 0.5, ((2, 2),), ((4, 4), (2, 2)))
    initialize_deformable(attention)
    bias = attention.sampling_offsets.bias.detach().reshape(4, 2, 3, 2)
    directions = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    for level in range(2):
        for point in range(3):
            assert torch.allclose(bias[:, level, point], directions * (point + 1), atol=1e-6)
    query, value = torch.randn(1, 4, 16), torch.randn(1, 20, 16)
    with torch.no_grad():
        attention.output_proj.weight.copy_(torch.eye(16)[:, :8])
        attention.value_proj.weight.zero_()
        attention.value_proj.bias.fill_(1.0)
        out = attention(query, value)
    # The first query is at the top left. Head 0 looks right over maps of ones: of its points 1, 2
    # and 3 pixels away the 4x4 level holds two and half of the third, the 2x2 level one.
    assert torch.allclose(out[0, 0, :2], torch.tensor(3.5 / 6))
