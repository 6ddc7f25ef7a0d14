"""Calibration samples: pictures of a folder, or drawn scenes, one network input at a time.

They are part of what a file is, so a hash of every one goes into the manifest. Folders are the same
that `edgevit eval` takes; labels in them are not looked at.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgevit.data import scenes
from edgevit.errors import UsageError
from edgevit.evaluation.data.coco import annotation_file, coco_folder
from edgevit.evaluation.data.drawn import DRAWN
from edgevit.evaluation.data.folders import VIDEOS
from edgevit.evaluation.data.samples import (
    MOST_FILES,
    DataSet,
    Sample,
    check_folder,
    check_inside,
    empty,
    folder_title,
    identity_of,
    shuffled,
)
from edgevit.evaluation.subject import inputs_of
from edgevit.tasks.clips import SUFFIXES, open_clip
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.preprocessing import whole_photo
from edgevit.tasks.task import Subject

if TYPE_CHECKING:
    from torch import Tensor

SCENES = "scenes"  # the word on the command line
MOST = len(scenes.CALIBRATION_SEEDS)
USUAL = 64
FEW = 8  # below this a remark is made
FLAT = 1e-6  # standard deviation of a normalized input that shows nothing

Opener = Callable[[], Sample]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A source of network inputs that can be read again and holds one at a time."""

    name: str  # as a manifest has it
    hashes: tuple[str, ...]  # sha256 of each input as the network gets it, in order
    remarks: tuple[str, ...]  # what the user should know of these samples
    read: Callable[[], Iterator[FloatArray]]
    rest: DataSet | None  # what the folder holds beside them; None of scenes

    def __len__(self) -> int:
        return len(self.hashes)

    def first(self, count: int) -> "Calibration":
        """The same source, its first inputs alone."""
        return replace(
            self, hashes=self.hashes[:count], read=lambda: islice(self.read(), count), rest=None
        )

    def __iter__(self) -> "Iterator[Tensor]":
        """float32 [1, 3, (T,) H, W], each read anew."""
        import torch

        return (torch.from_numpy(np.ascontiguousarray(array)) for array in self.read())


def calibration(
    data: str | Path,
    count: int,
    subject: Subject,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Calibration:
    """`count` inputs from drawn scenes (`scenes`), or from what lies anywhere below a folder.

    Of a larger folder those are taken whose names' hashes come first: of every class some, and
    always the same. Every input is read once here, so that what is broken is refused before
    anything is quantized. Raises `UsageError` on a count outside 1 to 512, on a folder that is none
    or holds nothing, and on pictures that are all flat; `PictureError` names a broken file.
    """
    if not 1 <= count <= MOST:
        raise UsageError(
            f"Calibration takes 1 to {MOST} samples, not {count}.",
            next=f"--calibration-samples {USUAL}",
        )
    drawn = str(data) == SCENES
    openers, name = _drawn(subject) if drawn else _folder(Path(data), subject)

    def numbered() -> Iterator[tuple[int, FloatArray]]:
        left = count
        for number, opener in enumerate(openers):
            for prepared in inputs_of(subject, opener())[:left]:
                left -= 1
                yield number, prepared.tensor
            if not left:
                return

    hashes, flat, used = [], 0, 0
    for number, array in numbered():
        used = number + 1
        hashes.append(hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())
        flat += bool(array.std(axis=(-2, -1)).max() < FLAT)
        progress(len(hashes), count)
    if not hashes:
        raise UsageError(f"{name} holds nothing to calibrate on: no person in any picture.")
    if flat == len(hashes):
        raise UsageError(
            f"The calibration pictures are flat, all {flat} of one color each: no range can be"
            " computed from them.",
            next="--calibration-data DIR, with photos like those the network will see",
        )
    return Calibration(
        name,
        tuple(hashes),
        tuple(_remarks(drawn, count, hashes, flat)),
        lambda: (array for _, array in numbered()),
        None if drawn else _rest(name, openers[used:]),
    )


def _rest(name: str, openers: list[Opener]) -> DataSet:
    identity = hashlib.sha256(f"{name} without its first, {len(openers)} left".encode()).hexdigest()
    return DataSet(
        lambda count: f"{count} others of {name}",
        identity,
        None,
        len(openers),
        lambda index: openers[index](),
    )


def _remarks(drawn: bool, wanted: int, hashes: list[str], flat: int) -> Iterator[str]:
    count, different = len(hashes), len(set(hashes))
    if drawn:
        yield (
            f"Calibrated on {count} drawn scenes;"
            " give pictures like those the network will see with --calibration-data DIR"
        )
    elif count < wanted:
        yield f"The calibration folder holds {count} inputs where {wanted} were asked for"
    if count < FEW:
        yield f"Calibrated on {count}, which is few: what goes beyond their ranges is clipped"
    if flat:
        yield f"{flat} of the {count} calibration pictures are flat, of one color"
    if different < count:
        yield f"{count - different} of the {count} calibration pictures are copies of others"


def _drawn(subject: Subject) -> tuple[list[Opener], str]:
    seeds = scenes.CALIBRATION_SEEDS
    draw, spec = DRAWN[subject.task].draw, subject.preprocessing
    openers: list[Opener] = [partial(draw, seed, spec) for seed in seeds]
    return openers, f"drawn scenes from {seeds[0]} on"


def _folder(root: Path, subject: Subject) -> tuple[list[Opener], str]:
    check_folder(root)
    annotations = annotation_file(root) if subject.task == "pose" else None
    if annotations is not None:
        people = coco_folder(root, subject, annotations)
        openers: list[Opener] = [partial(people.open, index) for index in range(len(people))]
        return openers, people.name
    kinds = VIDEOS if subject.task == "video" else SUFFIXES
    paths = shuffled(root, _below(root, kinds))
    if not paths:
        raise empty(root, "videos" if subject.task == "video" else "pictures")
    openers = [partial(_open, root, path, subject) for path in paths]
    return openers, folder_title(root, identity_of(root, paths))(len(paths))


def _below(root: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Every file of these kinds at any depth; hidden names are left out, links not followed."""
    paths: list[Path] = []
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".")]
        paths += [
            Path(folder, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in kinds
        ]
        if len(paths) > MOST_FILES:
            raise UsageError(f"{root} holds more than {MOST_FILES} files.")
    return paths


def _open(root: Path, path: Path, subject: Subject) -> Sample:
    check_inside(root, path)
    if subject.task == "video":
        spec = subject.preprocessing
        return Sample(path.name, open_clip(path, spec.frames, spec.stride).pictures)
    photo = open_picture(path)
    return Sample(path.name, (photo,), boxes=(whole_photo(photo),))
