"""Scores of the micro networks, and their controls."""

import numpy as np
import pytest
import torch
from torch import nn

from edgevit.data import scenes
from edgevit.networks.zoo import preprocessing_of
from scripts.micro.scores import pose_score, score, top1


def test_top1_its_control_and_the_blind_guess():
    truth = np.arange(900) % 9
    perfect = top1(truth, truth, scenes.MOTIONS)
    assert perfect.value == 1
    assert perfect.shuffled == pytest.approx(1 / 9, abs=0.04)
    assert perfect.blind == pytest.approx(1 / 9)
    assert set(perfect.parts.values()) == {1.0}
    assert top1(np.zeros_like(truth), truth, scenes.MOTIONS).value == pytest.approx(1 / 9)


def test_pck_its_control_and_the_mean_pose():
    rng = np.random.default_rng(0)
    boxes = np.array([[10, 20, 60, 120], [0, 0, 80, 90], [5, 5, 30, 50]], np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    points = (rng.uniform(0, 1, (3, 17, 2)) * sides + boxes[:, None, :2]).astype(np.float32)
    joints = np.concatenate((points, np.full((3, 17, 1), 2.0, np.float32)), axis=2)
    perfect = pose_score(points, joints, boxes)
    assert perfect.value == 1
    assert perfect.shuffled < 0.6
    assert perfect.blind < 0.3
    assert perfect.samples == 3


class Constant(nn.Module):
    """The same output for everything."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.output.expand(x.shape[0], *self.output.shape[1:])}


@pytest.mark.parametrize(
    ("task", "recipe", "size", "output"),
    [
        ("classification", "drawn", (64, 64), torch.eye(9)[:1]),
        ("video", "drawn-video", (2, 64, 64), torch.eye(9)[:1]),
        ("segmentation", "drawn", (64, 64), torch.eye(10)[:1, :, None, None].repeat(1, 1, 4, 4)),
    ],
)
def test_a_constant_scores_as_its_own_control(task, recipe, size, output):
    found = score(Constant(output), task, range(103), preprocessing_of(recipe, size))
    assert found.value == pytest.approx(found.shuffled)
    assert found.samples == 103
    assert found.value <= found.blind + 1e-9


def test_people_are_found_in_their_boxes():
    class Centers(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            heatmaps = torch.zeros(1, 17, 32, 24)
            heatmaps[:, :, 16, 12] = 1.0
            return {"heatmaps": heatmaps}

    found = score(Centers(), "pose", range(12), preprocessing_of("pose", (128, 96)))
    assert 0 <= found.value < found.blind
    assert found.samples > 3
