"""Drawn scenes as data: the seeds that no training has seen, by task, with exact truth."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit.data import scenes
from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import DataSet, Sample
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Box, Preprocessing
from edgevit.tasks.task import Subject
from edgevit.weights import demo_weights

POSE_SIDE = 448  # px of the scenes that figures are found in, as scripts/micro/scores.py has it


@dataclass(frozen=True, slots=True)
class Drawn:
    """How a task's truth is drawn."""

    labels: tuple[str, ...]  # that a network must have to be scored; () has no labels
    metric: str | None
    seeds: range
    draw: Callable[[int, Preprocessing], Sample]


def _classify(seed: int, spec: Preprocessing) -> Sample:
    drawn = scenes.scene(seed, *spec.size)
    return Sample(f"scene {seed}", (drawn.image,), label=drawn.label - 1)


def _segment(seed: int, spec: Preprocessing) -> Sample:
    drawn = scenes.scene(seed, *spec.size)
    return Sample(f"scene {seed}", (drawn.image,), mask=drawn.mask)


def _find_poses(seed: int, spec: Preprocessing) -> Sample:
    drawn = scenes.scene(seed, POSE_SIDE, POSE_SIDE)
    kept = drawn.keypoints[..., 2].any(axis=1)
    boxes: list[Box] = []
    for left, top, right, bottom in drawn.boxes[kept].astype(float).tolist():
        boxes.append((left, top, right - left, bottom - top))
    return Sample(f"scene {seed}", (drawn.image,), boxes=tuple(boxes), joints=drawn.keypoints[kept])


def _watch(seed: int, spec: Preprocessing) -> Sample:
    drawn = scenes.clip(seed, spec.frames, *spec.size)
    return Sample(f"clip {seed}", tuple(drawn.frames), label=drawn.label)


def _look(seed: int, spec: Preprocessing) -> Sample:
    return Sample(f"scene {seed}", (scenes.scene(seed, *spec.size).image,))


DRAWN: Mapping[str, Drawn] = MappingProxyType(
    {
        "classification": Drawn(
            scenes.CLASSES[1:], "top-1", scenes.CLASSIFICATION_SEEDS, _classify
        ),
        "segmentation": Drawn(scenes.CLASSES, "mIoU", scenes.SEGMENTATION_SEEDS, _segment),
        "pose": Drawn(COCO.names, "PCK", scenes.POSE_SEEDS, _find_poses),
        "video": Drawn(scenes.MOTIONS, "top-1", scenes.VIDEO_SEEDS, _watch),
        "features": Drawn((), None, scenes.HELD_OUT_SEEDS, _look),
    }
)


def drawn_scenes(subject: Subject, model: str) -> DataSet:
    """Held-out scenes, figures or clips with their truth, in the order of their seeds.

    Backbones have no truth: their scenes are for agreement. Raises `UsageError` for a network that
    does not know the drawn things.
    """
    task = DRAWN[subject.task]
    if task.labels != subject.labels and task.metric is not None:
        raise UsageError(
            f"{model} was not trained on drawn scenes: it has other labels"
            f" ({', '.join(subject.labels[:3])}...), so they cannot measure its accuracy.",
            next="edgevit eval BUNDLE --data FOLDER, with pictures of your own",
        )
    return _data_set(subject, task, _seeds(task, model))


def drawn_pictures(subject: Subject, model: str = "") -> DataSet:
    """The same scenes without their truth, for any network: for agreement where there are no other
    pictures. Never those of `scenes.CALIBRATION_SEEDS`.
    """
    task = DRAWN[subject.task]
    return _data_set(subject, task, _seeds(task, model)).unlabeled()


def _seeds(task: Drawn, model: str) -> range:
    """Those that the card of our own weights was scored on, where it says other ones."""
    demo = demo_weights(model)
    own = None if demo is None else demo.card.get("held_out", {}).get("seeds")
    return range(*own) if own else task.seeds


def _data_set(subject: Subject, task: Drawn, seeds: range) -> DataSet:
    kind = "clips" if subject.task == "video" else "scenes"
    shown = "x".join(map(str, subject.preprocessing.input_size))
    identity = f"{scenes.VERSION} {kind} {seeds} {shown}"
    return DataSet(
        lambda count: f"drawn {kind} {seeds[0]}-{seeds[count - 1]}",
        hashlib.sha256(identity.encode()).hexdigest(),
        task.metric,
        len(seeds),
        lambda index: task.draw(seeds[index], subject.preprocessing),
        unit="clips" if subject.task == "video" else "scenes",
    )
