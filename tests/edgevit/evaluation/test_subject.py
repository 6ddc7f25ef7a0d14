"""From a sample to inputs, and from outputs to answers."""

import numpy as np
import pytest
import torch

from edgevit.errors import CheckFailed
from edgevit.evaluation.data.samples import Sample
from edgevit.evaluation.subject import answers, inputs_of, network_run, session_run
from edgevit.tasks.preprocessing import preprocess
from edgevit_export.artifact import TensorSpec

PHOTO = np.zeros((12, 10, 3), np.uint8)


def prepared(subjects, task="classification"):
    return preprocess(PHOTO, subjects[task].preprocessing)


def test_inputs_are_one_a_picture_and_one_a_box(subjects):
    boxes = ((0.0, 0.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0))
    assert len(inputs_of(subjects["classification"], Sample("s", (PHOTO,)))) == 1
    assert len(inputs_of(subjects["pose"], Sample("s", (PHOTO,), boxes=boxes))) == 2
    (clip,) = inputs_of(subjects["video"], Sample("s", (PHOTO, PHOTO)))
    assert clip.tensor.shape == (1, 3, 2, 8, 8)
    made = prepared(subjects)
    assert inputs_of(subjects["classification"], Sample("s", (), prepared=made)) == [made]


def answer(subject, outputs, made):
    (decoded,) = answers(subject, lambda _: outputs, [made], name="model.onnx")
    return decoded


def test_answers(subjects):
    made = prepared(subjects)
    logits = np.array([[1, 3, 3]], np.float32)
    assert answer(subjects["classification"], [logits], made).label == 1
    maps = np.zeros((1, 3, 4, 4), np.float32)
    maps[0, 2] = 1
    found = answer(subjects["segmentation"], [maps], made)
    assert found.mask.shape == (12, 10)
    assert (found.mask == 2).all()
    labels = np.full((1, 8, 8), 1, np.int32)
    assert (answer(subjects["segmentation"], [labels], made).mask == 1).all()
    features = (maps, maps + 1)
    assert len(answer(subjects["features"], features, made).maps) == 2
    heat = np.zeros((1, 17, 8, 8), np.float32)
    heat[0, :, 3, 4] = 0.5
    pose = answer(subjects["pose"], [heat], prepared(subjects, "pose"))
    assert pose.scores.tolist() == [0.5] * 17


@pytest.mark.parametrize(
    ("task", "output", "reason"),
    [
        ("classification", np.zeros((1, 4), np.float32), r"logits of shape \(1, 4\) for 3 classes"),
        ("classification", np.full((1, 3), np.nan, np.float32), "values that are not finite"),
        ("segmentation", np.zeros((1, 4, 8, 8), np.float32), "logits of shape .* for 3 classes"),
        ("segmentation", np.zeros((1, 3), np.float32), "logits of shape .* for 3 classes"),
        ("segmentation", np.full((1, 8, 8), 3, np.int32), "labels outside its 3 classes"),
        ("segmentation", np.full((1, 8, 8), -1, np.int32), "labels outside its 3 classes"),
        ("segmentation", np.zeros((1, 4, 4), np.int32), "a mask of shape .* for an input of 8x8"),
        ("pose", np.zeros((1, 16, 8, 8), np.float32), "heatmaps of shape .* for 17 keypoints"),
        ("pose", np.zeros((1, 17, 0, 8), np.float32), "heatmaps of shape .* for 17 keypoints"),
        ("features", np.full((1, 3, 8, 8), np.inf, np.float32), "values that are not finite"),
        ("features", np.zeros((1, 3), np.float32), "features of shape .* for the map 0"),
    ],
)
def test_outputs_that_mean_nothing_are_refused(task, output, reason, subjects):
    with pytest.raises(CheckFailed, match=rf"model\.onnx returned {reason}"):
        answer(subjects[task], [output], prepared(subjects, task))


def test_a_batch_answers_as_its_parts(subjects):
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (5, 9, 9, 3), np.uint8)
    spec = subjects["classification"].preprocessing
    made = [preprocess(photo, spec) for photo in photos]
    sizes = []

    def run(tensor):
        sizes.append(len(tensor))
        return [tensor.mean(axis=(2, 3))]

    one = answers(subjects["classification"], run, made)
    several = answers(subjects["classification"], run, made, 2)
    assert [a.label for a in one] == [a.label for a in several]
    assert sizes == [1] * 5 + [2, 2, 1]


def test_a_torch_network_runs_without_gradients():
    run = network_run(torch.nn.Conv2d(3, 2, 1))
    (out,) = run(np.zeros((4, 3, 5, 5), np.float32))
    assert out.shape == (4, 2, 5, 5)


def test_a_files_layout_is_undone():
    class Session:
        def run(self, tensor):
            assert tensor.shape == (1, 4, 6, 3)
            return [tensor * 2] * self.count

    session = Session()
    spec = TensorSpec("x", (1, 4, 6, 3), "float32", "NHWC")
    run = session_run(session, [spec], [spec], "model.tflite")
    tensor = np.random.default_rng(0).random((1, 3, 4, 6), np.float32)
    session.count = 1
    assert np.array_equal(run(tensor)[0], tensor * 2)
    session.count = 2
    with pytest.raises(CheckFailed, match=r"model\.tflite returned 2 outputs for the 1"):
        run(tensor)
