"""Our own weights and their cards."""

import pytest
import torch

from edgevit.checkpoints.reader import read_checkpoint
from edgevit.data import scenes
from edgevit.networks.create import create_model
from edgevit.networks.zoo import MODELS
from edgevit.tasks.pose.skeletons import COCO
from edgevit.weights import HERE, METRICS, demo_weights, score_text

SHIPPED = [name for name in MODELS if demo_weights(name) is not None]


def test_every_file_belongs_to_a_model_and_has_a_card():
    files = {path.name for path in HERE.glob("*") if path.suffix in (".safetensors", ".json")}
    assert files == {f"{name}{suffix}" for name in SHIPPED for suffix in (".safetensors", ".json")}
    assert "topformer-t" in SHIPPED


def test_there_are_none_for_the_others():
    assert demo_weights("topformer-b") is None
    assert demo_weights("no-such-model") is None


@pytest.mark.parametrize("name", SHIPPED)
def test_weights_are_small_half_precision_and_fit(name):
    demo = demo_weights(name)
    assert demo.path.stat().st_size < (3_000_000 if name == "topformer-t" else 2_000_000)
    checkpoint = read_checkpoint(demo.path)
    floats = [t for t in checkpoint.tensors.values() if t.is_floating_point()]
    assert {t.dtype for t in floats} == {torch.float16}
    network = create_model(name, weights=demo.path)
    assert network.config.num_classes == len(demo.labels)


LABELS = {
    "segmentation": scenes.CLASSES,
    "classification": scenes.CLASSES[1:],
    "pose": COCO.names,
    "video": scenes.MOTIONS,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_labels_are_the_scenes_own(name):
    assert demo_weights(name).labels == tuple(LABELS[MODELS[name].task])


@pytest.mark.parametrize("name", SHIPPED)
def test_a_loss_would_show_in_the_held_out_score(name):
    card = demo_weights(name).card
    (metric,) = METRICS.keys() & card.keys()
    assert 0.6 <= card[metric] <= 0.95
    assert score_text(card).endswith(f" {card[metric]:.3f}")


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "topformer-t"])
def test_what_learned_nothing_scores_far_less(name):
    card = demo_weights(name).card
    (metric,) = METRICS.keys() & card.keys()
    held_out = card["held_out"]
    assert held_out["samples"] >= {"miou": 500, "pck": 500, "top1": 2000}[metric]
    assert held_out["seeds"][0] >= scenes.TRAIN_SEEDS.stop
    assert max(held_out["shuffled"], held_out["blind"]) < card[metric] / 2
