"""The same scores as the script that trained the demo weights, which counts in its own way."""

import pytest

from edgevit.evaluation.data.drawn import DRAWN, drawn_scenes
from edgevit.evaluation.scoring import measure
from edgevit.evaluation.subject import network_run
from edgevit.networks.create import create_model
from edgevit.networks.zoo import MODELS
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject
from edgevit.weights import demo_weights
from scripts.micro.scores import score

COUNT = 10
MICRO = ("vit-micro", "vitpose-micro", "mvitv2-micro-video", "vit-adapter-micro-upernet")


def test_every_task_with_labels_is_here():
    assert {MODELS[name].task for name in MICRO} == {n for n, t in DRAWN.items() if t.metric}


@pytest.mark.parametrize("name", MICRO)
@pytest.mark.parametrize("batch", [1, 4])
def test_scores_are_those_of_the_card(name, batch):
    demo = demo_weights(name)
    spec = Preprocessing.from_json(demo.card["preprocessing"])
    subject = Subject(MODELS[name].task, demo.labels, spec)
    network = create_model(name, demo.path)
    data = drawn_scenes(subject, name).first(COUNT)
    run = network_run(network)
    found = measure(subject, data, {"again": run}, run, batch=batch)["again"].accuracy
    seeds = DRAWN[subject.task].seeds
    low, high = demo.card["held_out"]["seeds"]
    assert seeds == range(low, high)
    want = score(network, subject.task, seeds[:COUNT], spec)
    assert found.value == pytest.approx(want.value, abs=1e-4)
    assert found.reference == pytest.approx(want.value, abs=1e-4)
    assert 0.3 < want.value <= 1
    assert found.metric in want.metric
