"""What every task is made of, and the values that go between its parts.

A task's room has a `task.py` with the same few names: `prepare` makes a network's inputs of a photo
or a clip, `decode` reads the outputs of one input, `result_of` joins what was read to a result that
can be printed and drawn, and `TASK` holds the three. `edgevit run` and `edgevit eval` use the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgevit.errors import CheckFailed
from edgevit.tasks.clips import Clip
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.preprocessing import Box, Fit, Prepared, Preprocessing

Array = NDArray[np.generic]


class Described(Protocol):
    """Anything that describes a network's task, such as a bundle's manifest."""

    @property
    def task(self) -> str:
        """A key of `TASKS`."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of classes or keypoints."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How its inputs are made."""


@dataclass(frozen=True, slots=True)
class Subject:
    """All that is needed to feed a network and to read its outputs."""

    task: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, network: Described) -> "Subject":
        """The subject of a manifest, or of any object with these three attributes."""
        return cls(network.task, network.labels, network.preprocessing)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The source of inputs: a photo and its boxes, or the frames of a clip."""

    frames: tuple[Picture, ...]  # uint8 RGB [H, W, 3]; one of a photo
    boxes: tuple[Box, ...] = ()  # pose: one input each
    clip: Clip | None = None  # video: where the frames come from


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What a network returned for one input, as the training-time network has it, batch 1.

    Raises `CheckFailed` on values that are not finite.
    """

    arrays: tuple[Array, ...]
    names: tuple[str, ...] = ()  # of each array, where they are known
    source: str = "A network"  # that returned them, as a sentence begins
    next: str | None = None  # the command that helps with invalid outputs

    def __post_init__(self) -> None:
        for array in self.arrays:
            if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
                raise self.refused("values that are not finite")

    def floats(self, index: int = 0) -> FloatArray:
        """One array as float32."""
        return np.asarray(self.arrays[index], np.float32)

    def refused(self, what: str) -> CheckFailed:
        """The error for invalid outputs; `what` ends its sentence."""
        return CheckFailed(f"{self.source} returned {what}.", next=self.next)


@dataclass(frozen=True, slots=True)
class Settings:
    """The choices that a task leaves to `edgevit run`; the defaults are the usual way."""

    official_resize: bool = False  # segmentation: mmseg's two resizes of the logits
    top: int | None = None  # classification, video: how many classes are named; None: 5
    stride: int | None = None  # video: pictures from one frame to the next, 0 for all of it
    flip_test: bool = False  # pose: the mean with the mirrored picture's heatmaps
    threshold: float | None = None  # pose: score from which a keypoint is drawn; None: 0.3
    boxes: bool = False  # pose: a file of boxes comes with the pictures


USUAL = Settings()


class Result(Protocol):
    """What `edgevit run` writes of one photo or clip."""

    @property
    def headline(self) -> str:
        """One line for a table."""

    def to_json(self) -> dict[str, object]:
        """Plain data."""

    def drawings(self) -> Mapping[str, Image.Image]:
        """Pictures by the ending of their file's name."""


@dataclass(frozen=True, slots=True)
class Task:
    """The parts of one task. The value that `decode` returns is the task's own."""

    fits: tuple[Fit, ...]  # how its pictures may meet the network's size
    settings: tuple[str, ...]  # the fields of `Settings` that it knows
    prepare: Callable[[View, Preprocessing], list[Prepared]]
    decode: Callable[[Outputs, Subject, Prepared], Any]
    result_of: Callable[[View, Sequence[Any], Subject, Settings], Result]
    outputs: str  # what the outputs are, for the README of a bundle
    golden: str = "one picture"  # what the golden picture of a bundle is
    clips: bool = False  # takes clips, not photos
