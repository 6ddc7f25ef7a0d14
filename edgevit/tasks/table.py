"""TASKS: every task by its name, a room and a line each."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.tasks.classification.task import TASK as CLASSIFICATION
from edgevit.tasks.features.task import TASK as FEATURES
from edgevit.tasks.pose.task import TASK as POSE
from edgevit.tasks.segmentation.task import TASK as SEGMENTATION
from edgevit.tasks.task import Task
from edgevit.tasks.video.task import TASK as VIDEO

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "segmentation": SEGMENTATION,
        "classification": CLASSIFICATION,
        "video": VIDEO,
        "pose": POSE,
        "features": FEATURES,
    }
)
