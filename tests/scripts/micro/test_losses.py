"""Losses of the micro networks."""

import numpy as np
import pytest
import torch

from edgevit.tasks.pose.heatmaps import find_peaks, refine_dark
from scripts.micro.losses import DenseHead, as_tokens, gaussians, heatmap_loss


def test_dark_finds_the_centers_of_gaussians():
    points = torch.tensor([[[5.3, 20.7], [11.5, 8.25]]])
    maps = gaussians(points, (32, 24)).numpy()
    peaks, _ = find_peaks(maps)
    np.testing.assert_allclose(refine_dark(maps, peaks), points, atol=0.05)


def test_hidden_outside_keypoints_cost_nothing():
    points = torch.tensor([[[5.0, 5.0, 2.0], [40.0, 5.0, 0.0]]])
    maps = gaussians(points, (16, 12))
    maps[:, 1] = 7.0
    assert heatmap_loss(maps, points) == 0
    maps[:, 0] += 0.5
    assert heatmap_loss(maps, points) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("shape", "count"), [((2, 8, 4, 3), 12), ((2, 17, 8), 16), ((2, 16, 8), 16)]
)
def test_class_tokens_are_left_out(shape, count):
    tokens, grid = as_tokens(torch.randn(shape))
    assert tokens.shape == (2, count, 8)
    assert grid[0] * grid[1] == count


def test_a_token_draws_its_own_patch():
    head = DenseHead({"tokens": (4, 8)})  # two by two pixels of the quarter picture a token
    masks = torch.zeros(1, 8, 8, dtype=torch.int64)  # of a picture of 16 x 16
    masks[:, :2, 4:6] = 3  # upper left of the second token
    tokens = torch.zeros(1, 5, 4)
    assert head({"tokens": tokens}, masks).item() == pytest.approx(np.log(10), rel=0.3)
    with torch.no_grad():
        linear = head.heads["tokens"]
        linear.weight.zero_()
        linear.bias.zero_()
        drawn = linear.weight.reshape(2, 2, 10, 4)
        drawn[:, :, 0, 0] = 50.0
        drawn[0, 0, 3, 1] = 100.0
        tokens[0, 1:, 0] = 1.0
        tokens[0, 2, 1] = 1.0
    assert head({"tokens": tokens}, masks).item() < 1e-6
