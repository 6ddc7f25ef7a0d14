"""The training script: its table, its schedule, and what it ships."""

import json

import pytest
import torch

from edgevit.data import scenes
from scripts import train_micro
from scripts.micro.losses import as_tokens
from scripts.micro.recipes import RECIPES, Recipe, Stage


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_fits_its_network(name):
    card, recipe = train_micro.CARDS[name], RECIPES[name]
    assert recipe.task == card.task
    network = train_micro.build(card, card.input_size)
    assert sum(p.numel() for p in network.parameters()) == card.params < 1_000_000
    assert recipe.pool < train_micro.VALIDATION.start
    maps = train_micro.dense_maps(card) if recipe.dense else {}
    with torch.no_grad():
        outputs = network.eval()(torch.zeros(1, 3, *card.input_size))
    for key, (width, stride) in maps.items():
        tokens, grid = as_tokens(outputs[key])
        assert tokens.shape[2] == width
        assert grid == tuple(side // stride for side in card.input_size)
    for stage in recipe.stages:
        smaller = train_micro.build(card, train_micro.shrunk(card.input_size, stage.shrink))
        shapes = {k: v.shape for k, v in smaller.named_parameters()}
        assert shapes == {k: v.shape for k, v in network.named_parameters()}


def test_no_training_sees_a_held_out_seed():
    for seeds in train_micro.HELD_OUT.values():
        assert seeds.start >= scenes.TRAIN_SEEDS.stop
    assert {task: len(seeds) for task, seeds in train_micro.HELD_OUT.items()} == {
        "segmentation": 500,
        "pose": 600,
        "classification": 2000,
        "video": 2000,
    }


def test_the_rate_rises_and_falls():
    stage = Stage(batch=1, steps=100, lr=1.0, lr_end=0.1, warmup=10)
    rates = [train_micro.rate(stage, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


@pytest.fixture
def short(monkeypatch):
    """Two steps of the picture network, then of the video network that starts from it."""
    stages = (
        Stage(batch=2, steps=1, lr=1e-3, lr_end=1e-4, shrink=2),
        Stage(batch=2, steps=1, lr=1e-3, lr_end=1e-4),
    )
    names = ("mvitv2-micro", "mvitv2-micro-video")
    recipes = {name: Recipe(train_micro.CARDS[name].task, 4, stages) for name in names}
    monkeypatch.setattr(train_micro, "RECIPES", recipes)
    monkeypatch.setattr(train_micro, "VALIDATION", scenes.TRAIN_SEEDS[-2:])
    for task in train_micro.HELD_OUT:
        monkeypatch.setitem(train_micro.HELD_OUT, task, range(1_500_000, 1_500_003))


@pytest.mark.usefixtures("short")
def test_training_resumes_and_ships(tmp_path, capsys):
    picture, video = (train_micro.CARDS[n] for n in ("mvitv2-micro", "mvitv2-micro-video"))
    network = train_micro.train(picture, tmp_path, tmp_path / "pools", None)
    again = train_micro.train(picture, tmp_path, tmp_path / "pools", None)
    for key, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    weights = tmp_path / "mvitv2-micro.safetensors"
    train_micro.ship(picture, network, weights, "a test")
    card = json.loads(weights.with_suffix(".json").read_text())
    assert 0 <= card["top1"] <= 1
    assert card["held_out"]["samples"] == 3
    assert card["labels"] == list(scenes.CLASSES[1:])
    assert weights.stat().st_size < 2_000_000

    started = train_micro.build(video, video.input_size)
    train_micro.inherit(started, video, weights)
    kernel = started.get_parameter("blocks.0.attn.pool_q.weight")
    assert torch.equal(
        kernel[:, :, 1],
        torch.load(tmp_path / "last.pth", weights_only=True)["average"][
            "blocks.0.attn.pool_q.weight"
        ]
        .half()
        .float(),
    )
    assert not kernel[:, :, 0].any()
    assert "top-1" in capsys.readouterr().out
