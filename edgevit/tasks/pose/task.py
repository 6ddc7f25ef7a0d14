"""Pose: the keypoints of each person of a photo, a box and a network's input each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.pose.draw import THRESHOLD, draw_skeleton
from edgevit.tasks.pose.pose import Pose, average_mirrored, decode_heatmaps, mirror
from edgevit.tasks.pose.skeletons import Skeleton, skeleton_with
from edgevit.tasks.preprocessing import Box, Prepared, Preprocessing, preprocess
from edgevit.tasks.task import Outputs, Settings, Subject, Task, View


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """The keypoints of each box of a picture."""

    photo: Picture  # RGB [H, W, 3]
    boxes: tuple[Box, ...]
    poses: tuple[Pose, ...]  # one a box
    skeleton: Skeleton
    threshold: float = THRESHOLD  # of a keypoint's score, to be drawn and counted

    @property
    def headline(self) -> str:
        """How many keypoints were found in how many boxes."""
        present = sum(int((pose.scores >= self.threshold).sum()) for pose in self.poses)
        everyone = len(self.poses) * len(self.skeleton.names)
        boxes = "1 box" if len(self.poses) == 1 else f"{len(self.poses)} boxes"
        return f"{present} of {everyone} keypoints in {boxes}"

    def to_json(self) -> dict[str, object]:
        """`people`: of each its `box` (x, y, width, height in px) and `keypoints`."""
        return {
            "people": [
                {
                    "box": [round(value, 2) for value in box],
                    "keypoints": pose.to_json(self.skeleton),
                }
                for box, pose in zip(self.boxes, self.poses, strict=True)
            ]
        }

    def drawings(self) -> Mapping[str, Image.Image]:
        """The photo with every skeleton on it."""
        keypoints = np.zeros((len(self.poses), len(self.skeleton.names), 3), np.float32)
        for index, pose in enumerate(self.poses):
            keypoints[index] = pose.keypoints
        return {"pose": draw_skeleton(self.photo, keypoints, self.skeleton, self.threshold)}


def prepare(view: View, spec: Preprocessing) -> list[Prepared]:
    """One input a box."""
    return [preprocess(view.frames[0], spec, box) for box in view.boxes]


def decode(outputs: Outputs, subject: Subject, prepared: Prepared) -> Pose:
    """Heatmaps [1, K, h, w] to keypoints of the photo; raises `CheckFailed` on another shape."""
    maps = _heatmaps(outputs, subject)
    return replace(decode_heatmaps(maps, prepared), heatmaps=maps[0])


def _heatmaps(outputs: Outputs, subject: Subject) -> FloatArray:
    maps, count = outputs.floats(), len(subject.labels)
    if maps.ndim != 4 or maps.shape[:2] != (1, count) or not maps.size:
        raise outputs.refused(f"heatmaps of shape {maps.shape} for {count} keypoints")
    return maps


def flip_test(
    run: Callable[[FloatArray], Outputs], tensor: FloatArray, subject: Subject
) -> Outputs:
    """The outputs of an input, their heatmaps averaged with those of the mirrored input."""
    plain, mirrored = run(tensor), run(mirror(tensor))
    maps = average_mirrored(
        _heatmaps(plain, subject), _heatmaps(mirrored, subject), skeleton_with(subject.labels)
    )
    return replace(plain, arrays=(maps,))


def check_flip_test(subject: Subject) -> None:
    """Raise `UsageError` if left and right keypoints are not known."""
    skeleton = skeleton_with(subject.labels)
    if not skeleton.pairs:
        raise UsageError(
            "The flip test needs to know which keypoints are left and right; this is not known for"
            f" the {len(skeleton.names)} keypoints of this bundle.",
            next="leave --flip-test out",
        )


def result_of(
    view: View, answers: Sequence[Pose], subject: Subject, settings: Settings
) -> PoseEstimate:
    """The photo and a pose a box."""
    threshold = THRESHOLD if settings.threshold is None else settings.threshold
    skeleton = skeleton_with(subject.labels)
    return PoseEstimate(view.frames[0], view.boxes, tuple(answers), skeleton, threshold)


TASK = Task(
    fits=("box",),
    settings=("flip_test", "threshold", "boxes"),
    prepare=prepare,
    decode=decode,
    result_of=result_of,
    outputs="The output has a heatmap a keypoint; `labels.txt` names them.",
    golden="one picture of a figure, whose box is all of it",
)
