"""Drawn scenes written into each folder layout score exactly as the scenes themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.data.drawn import drawn_scenes
from edgevit.evaluation.scoring import measure
from edgevit.evaluation.subject import network_run
from edgevit.networks.create import create_model
from edgevit.networks.zoo import MODELS
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject
from edgevit.weights import demo_weights

COUNT = 8


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_classes(root, data, labels):
    for index, sample in enumerate(data):
        save(root / labels[sample.label] / f"{index}.png", sample.frames[0])


def write_videos(root, data, labels):
    for index, sample in enumerate(data):
        for number, frame in enumerate(sample.frames):
            save(root / labels[sample.label] / str(index) / f"{number}.png", frame)


def write_masks(root, data, labels):
    for index, sample in enumerate(data):
        save(root / "images" / f"{index}.png", sample.frames[0])
        save(root / "annotations" / f"{index}.png", sample.mask + np.uint8(1))


def write_coco(root, data, labels):
    images, annotations = [], []
    for index, sample in enumerate(data):
        save(root / "val" / f"{index}.png", sample.frames[0])
        images.append({"id": index, "file_name": f"{index}.png"})
        for box, joints in zip(sample.boxes, sample.joints, strict=True):
            person = {"image_id": index, "bbox": box, "keypoints": joints.ravel().tolist()}
            annotations.append(person)
    (root / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": annotations})
    (root / "annotations" / "person_keypoints_val.json").write_text(text)


LAYOUTS = {
    "vit-micro": (write_classes, None),
    "mvitv2-micro-video": (write_videos, None),
    "vit-adapter-micro-upernet": (write_masks, "ignore"),
    "vitpose-micro": (write_coco, None),
}


@pytest.fixture(params=LAYOUTS)
def case(request, tmp_path):
    """A network, its scenes, and a folder of the same."""
    name = request.param
    demo = demo_weights(name)
    spec = Preprocessing.from_json(demo.card["preprocessing"])
    subject = Subject(MODELS[name].task, demo.labels, spec)
    scenes = drawn_scenes(subject, name).first(COUNT)
    write, zero = LAYOUTS[name]
    write(tmp_path, scenes, subject.labels)
    folder = open_data(tmp_path, subject, name, zero)
    if subject.task == "pose":  # some scenes have no figure, and COCO's folder leaves those out
        assert len(folder) == sum(1 for sample in scenes if sample.boxes)
        folder = replace(folder, metric="PCK")
    else:
        assert len(folder) == COUNT
    return subject, scenes, folder, network_run(create_model(name, demo.path))


def test_a_folder_scores_as_the_scenes(case):
    subject, scenes, folder, run = case
    whole = measure(subject, scenes, {"net": run}, None)["net"].accuracy
    found = measure(subject, folder, {"net": run}, None)["net"].accuracy
    assert found.metric == whole.metric
    assert found.value == pytest.approx(whole.value, abs=1e-12)
    assert 0 < found.value <= 1
    assert found.data.endswith(")")


@pytest.mark.parametrize("case", ["vitpose-micro"], indirect=True)
def test_keypoints_of_cocos_folder_have_an_ap(case):
    subject, _, folder, run = case
    assert subject.labels == COCO.names

    def blind(tensor):
        return run(np.zeros_like(tensor))

    runs = {"net": run, "blind": blind}
    found = measure(subject, replace(folder, metric="AP"), runs, run)
    assert found["net"].accuracy.metric == "AP"
    assert found["net"].accuracy.value == found["net"].accuracy.reference > 0.9
    assert found["blind"].accuracy.value < 0.5
