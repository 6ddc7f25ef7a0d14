"""A data set as numbered samples, opened one at a time; and folders, of which nothing leaves."""

import hashlib
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.clips import SUFFIXES
from edgevit.tasks.pixels.resize import Picture
from edgevit.tasks.preprocessing import Box, Prepared

MOST_FILES = 2_000_000  # of a folder; ImageNet's training set has 1.3 million
LAYOUTS = "docs/evaluation.md shows the layouts"


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One photo or clip, with its labels if they are known."""

    name: str
    frames: tuple[Picture, ...]  # RGB uint8 [H, W, 3]; one, of a clip several
    label: int | None = None  # the class
    mask: NDArray[np.integer] | None = None  # [H, W] class a pixel, -1 where none is known
    boxes: tuple[Box, ...] = ()  # pose: x, y, width, height in px of each person
    joints: NDArray[np.float32] | None = None  # [P, K, 3] x, y in px and visibility, 0 is unknown
    areas: tuple[float, ...] = ()  # px^2 of each person, for AP
    prepared: Prepared | None = None  # an input that is made already, instead of `frames`


@dataclass(frozen=True, slots=True)
class DataSet:
    """Samples by number, so that they stream, again and from any place."""

    title: Callable[[int], str]  # what the first so many of them are called in a manifest
    identity: str  # hash of the names and sizes of its files, or of its seeds
    metric: str | None  # top-1, mIoU, PCK or AP; None without labels
    count: int
    open: Callable[[int], Sample]
    note: str = ""  # how labels were matched, a sentence
    unit: str = "pictures"

    @property
    def name(self) -> str:
        """What it is called in a manifest."""
        return self.title(self.count)

    @property
    def labeled(self) -> bool:
        """Whether the truth is known."""
        return self.metric is not None

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        return (self.open(index) for index in range(self.count))

    def first(self, count: int | None) -> "DataSet":
        """The first samples, at most `count`; raises `UsageError` below 1."""
        if count is None:
            return self
        if count < 1:
            raise UsageError(f"--max-samples takes a number from 1, not {count}.")
        return replace(self, count=min(count, self.count))

    def after(self, count: int) -> "DataSet":
        """What is left without the first so many, e.g. those that calibration took; raises
        `UsageError` where that is nothing.
        """
        if not 0 <= count < self.count:
            raise UsageError(
                f"{self.name} has {self.count} {self.unit}; none are left after the first {count}.",
                next="more pictures, or fewer for calibration",
            )
        return replace(
            self,
            title=lambda more: f"{self.title(count + more)} after the first {count}",
            identity=hashlib.sha256(f"{self.identity} {count}".encode()).hexdigest(),
            count=self.count - count,
            open=lambda index: self.open(count + index),
        )

    def unlabeled(self) -> "DataSet":
        """The same samples, for agreement."""
        return replace(self, metric=None)


def tensors(inputs: Sequence[Prepared], name: str = "inputs") -> DataSet:
    """Inputs that are made already, e.g. of a calibration set's other half, without labels.

    For pose, each one's box is its whole photo.
    """
    digest = hashlib.sha256()
    for prepared in inputs:
        digest.update(np.ascontiguousarray(prepared.tensor).tobytes())

    def open_input(index: int) -> Sample:
        prepared = inputs[index]
        height, width = prepared.original_size
        box = (0.0, 0.0, float(width), float(height))
        return Sample(f"{name} {index}", (), boxes=(box,), prepared=prepared)

    return DataSet(lambda _: name, digest.hexdigest(), None, len(inputs), open_input)


def folder_title(root: Path, identity: str) -> Callable[[int], str]:
    """The folder's own name, never its path, and the start of its hash."""
    name = "".join(c if c.isprintable() else "?" for c in root.resolve().name)
    return lambda _: f"{name} ({identity[:12]})"


def identity_of(root: Path, paths: Sequence[Path], *more: object) -> str:
    """sha256 of the names and sizes of files, and of whatever else distinguishes the samples."""
    digest = hashlib.sha256(repr(more).encode())
    for path in sorted(paths):
        digest.update(os.fsencode(path.relative_to(root).as_posix()))
        digest.update(f"\0{path.stat().st_size}\0".encode())
    return digest.hexdigest()


def shuffled(root: Path, paths: Sequence[Path]) -> list[Path]:
    """By the hash of their names: the first of them are of every class, and always the same."""

    def place(path: Path) -> bytes:
        return hashlib.sha256(os.fsencode(path.relative_to(root).as_posix())).digest()

    return sorted(paths, key=place)


def check_folder(root: Path) -> None:
    """Raise `UsageError` where there is no such directory."""
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise UsageError(f"The data folder {root} {what}.", next=f"give a folder: {LAYOUTS}")


def listed(root: Path, folder: Path) -> list[Path]:
    """What lies in a folder, sorted, hidden names left out.

    Raises `UsageError` on a link that leads out of `root`, and on too many names.
    """
    paths = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if entry.is_symlink():
                check_inside(root, path)
            paths.append(path)
            if len(paths) > MOST_FILES:
                raise UsageError(f"{folder} holds more than {MOST_FILES} names.")
    return sorted(paths)


def check_inside(root: Path, path: Path) -> Path:
    """The path, where its file is inside `root` whatever links say; raises `UsageError`."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"{path} points outside {root}; nothing outside the data folder is opened.",
            next="copy the file into the folder",
        )
    return path


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """The files with a picture's suffix."""
    return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]


def empty(folder: Path, what: str) -> UsageError:
    """The error for a folder without the expected files."""
    return UsageError(f"{folder} holds no {what}.", next=f"ls {shlex.quote(str(folder))}")
