"""Each task from a photo or a clip to a result, and that `TASKS` holds every room."""

from pathlib import Path

import numpy as np
import pytest

import edgevit.tasks
from edgevit.errors import CheckFailed, UsageError
from edgevit.networks.zoo import MODELS
from edgevit.tasks.clips import Clip
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import USUAL, Outputs, Settings, Subject, View

PLAIN = {"size": (8, 8), "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}
PHOTO = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
VIEWS = {
    "pose": View((PHOTO,), ((0.0, 0.0, 5.0, 5.0), (1.0, 2.0, 3.0, 4.0))),
    "video": View((PHOTO, PHOTO), clip=Clip((PHOTO, PHOTO), (0, 1), 2, "Frames as given.")),
}
ARRAYS = {"pose": np.ones((1, 17, 4, 4), np.float32), "classification": np.eye(3)[:1]}
ARRAYS["video"] = ARRAYS["classification"]
MAPS = np.ones((1, 3, 4, 4), np.float32)


def subject_of(task):
    entry = TASKS[task]
    spec = Preprocessing(**PLAIN, fit=entry.fits[0], frames=2 if entry.clips else 0)
    return Subject(task, COCO.names if task == "pose" else ("a", "b", "c"), spec)


def test_every_room_is_in_the_table():
    folder = Path(edgevit.tasks.__file__).parent
    assert {path.parent.name for path in folder.glob("*/task.py")} == set(TASKS)
    assert {card.task for card in MODELS.values()} == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_from_a_view_to_a_result(task):
    subject, entry = subject_of(task), TASKS[task]
    view = VIEWS.get(task, View((PHOTO,)))
    inputs = entry.prepare(view, subject.preprocessing)
    assert len(inputs) == max(1, len(view.boxes))
    outputs = Outputs((ARRAYS.get(task, MAPS),), ("name",))
    answers = [entry.decode(outputs, subject, prepared) for prepared in inputs]
    result = entry.result_of(view, answers, subject, USUAL)
    assert result.headline
    assert result.to_json()
    assert all(drawing.width >= PHOTO.shape[1] for drawing in result.drawings().values())


def test_outputs_are_finite_or_refused():
    Outputs((np.ones(3, np.int64), np.ones(3, np.float16)))
    with pytest.raises(CheckFailed) as caught:
        Outputs((np.ones(3), np.array([np.inf])), source="model.pte", next="edgevit verify out")
    assert str(caught.value) == "model.pte returned values that are not finite."
    assert caught.value.next == "edgevit verify out"


def test_official_resize_of_a_label_map_is_refused():
    subject, entry = subject_of("segmentation"), TASKS["segmentation"]
    (prepared,) = entry.prepare(View((PHOTO,)), subject.preprocessing)
    answer = entry.decode(Outputs((np.ones((1, 8, 8), np.int32),)), subject, prepared)
    assert answer.logits is None
    with pytest.raises(UsageError, match="needs logits"):
        entry.result_of(View((PHOTO,)), [answer], subject, Settings(official_resize=True))
