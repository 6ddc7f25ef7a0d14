"""Folders of pictures or videos: a directory a class, or without labels."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import (
    LAYOUTS,
    DataSet,
    Sample,
    check_inside,
    empty,
    folder_title,
    identity_of,
    listed,
    pictures_in,
    shuffled,
)
from edgevit.tasks.clips import SUFFIXES, check_video, open_clip
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.preprocessing import whole_photo
from edgevit.tasks.task import Subject

WNID = re.compile(r"n[0-9]{8}")  # a WordNet id, as ImageNet's directories are named
NUMBERED = re.compile(r"class [0-9]+")  # what edgevit calls classes without names
VIDEOS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg"),
    *(".flv", ".ogg", ".ogv", ".wmv", ".asf", ".gif"),
)


def class_folders(root: Path, subject: Subject) -> DataSet:
    """ImageFolder's layout, `root/CLASS/PICTURE`; for video `root/CLASS/VIDEO`, or a folder of
    frames for each video.

    Directories are matched with the labels by `match_classes`. Raises `UsageError` where a class
    has no picture, where one is not known, and on links that lead out.
    """
    folders = [path for path in listed(root, root) if path.is_dir()]
    classes, note = match_classes([path.name for path in folders], subject.labels)
    known: dict[Path, int] = {}
    for folder in folders:
        held = _held(root, folder, subject.task)
        if not held:
            raise empty(folder, "videos" if subject.task == "video" else "pictures")
        known.update(dict.fromkeys(held, classes[folder.name]))
    return _data_set(root, subject, list(known), known, "top-1", note)


def flat_folder(root: Path, subject: Subject) -> DataSet:
    """Pictures (videos, folders of frames) that lie in the folder itself, without labels.

    Raises `UsageError` where there are none.
    """
    held = _held(root, root, subject.task)
    if not held:
        kind = "videos" if subject.task == "video" else "pictures"
        raise UsageError(
            f"{root} has no {kind}, and not the layout of a data set for {subject.task}.",
            next=f"ls {shlex.quote(str(root))}; {LAYOUTS}",
        )
    return _data_set(root, subject, held, {}, None, "No labels: agreement with fp32 is measured.")


def match_classes(names: Sequence[str], labels: Sequence[str]) -> tuple[Mapping[str, int], str]:
    """The class of each directory, and a sentence that says how it was found.

    By name first: case and `_` for a space do not count, and some of the classes are enough. Else,
    where there are exactly as many directories as labels, in sorted order: of WordNet ids, which is
    ImageNet's order, or where the labels are mere numbers. Raises `UsageError` otherwise.
    """
    plain = [_plain(label) for label in labels]
    classes: dict[str, int] = {}
    for name in names:
        # Two classes of one name (ImageNet's cranes) cannot be told apart: neither is taken.
        if plain.count(_plain(name)) == 1:
            classes[name] = plain.index(_plain(name))
    if len(classes) == len(names):
        twice = len(set(classes.values())) != len(names)
        if twice:
            raise UsageError("Two directories are named for the same class.", next=LAYOUTS)
        return classes, f"Directories were matched with the {len(labels)} labels by name."
    ordered = sorted(names)
    if len(names) == len(labels):
        if all(WNID.fullmatch(name) for name in names):
            return (
                {name: index for index, name in enumerate(ordered)},
                f"The {len(names)} WordNet ids were taken for the labels in sorted order.",
            )
        if all(NUMBERED.fullmatch(label) for label in labels):
            return (
                {name: index for index, name in enumerate(ordered)},
                f"The {len(names)} directories were taken for the numbered classes in sorted"
                " order.",
            )
    other = next(name for name in ordered if name not in classes)
    raise UsageError(
        f"The directory {other} is not a class of this network: {len(names)} directories,"
        f" {len(labels)} labels, such as {labels[0]!r}.",
        next="name each directory as labels.txt of the bundle has it",
    )


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())


def _held(root: Path, folder: Path, task: str) -> list[Path]:
    """What one class, or a folder without classes, holds to be scored."""
    inside = listed(root, folder)
    if task != "video":
        return pictures_in(inside)
    return [
        path
        for path in inside
        if (path.is_dir() and pictures_in(listed(root, path)))
        or (path.is_file() and path.suffix.lower() in VIDEOS)
    ]


def is_clip(root: Path, folder: Path) -> bool:
    """Whether a directory is one video's frames: it holds pictures, no video and no directory."""
    inside = listed(root, folder)
    return bool(inside) and all(p.is_file() and p.suffix.lower() in SUFFIXES for p in inside)


def _data_set(
    root: Path,
    subject: Subject,
    paths: Sequence[Path],
    labels: Mapping[Path, int],
    metric: str | None,
    note: str,
) -> DataSet:
    order = shuffled(root, paths)
    files = [f for p in order for f in (pictures_in(listed(root, p)) if p.is_dir() else [p])]
    truth = [labels.get(path) for path in order]
    identity = identity_of(root, files, subject.task, truth)
    opened = _opener(root, subject)

    def open_sample(index: int) -> Sample:
        path = check_inside(root, order[index])
        return opened(path, labels.get(path))

    unit = "videos" if subject.task == "video" else "pictures"
    return DataSet(
        folder_title(root, identity), identity, metric, len(order), open_sample, note, unit
    )


def _opener(root: Path, subject: Subject) -> Callable[[Path, int | None], Sample]:
    spec = subject.preprocessing

    def open_photo(path: Path, label: int | None) -> Sample:
        photo = open_picture(path)
        boxes = (whole_photo(photo),) if subject.task == "pose" else ()
        return Sample(path.relative_to(root).as_posix(), (photo,), label, boxes=boxes)

    def open_video(path: Path, label: int | None) -> Sample:
        check_video(path)
        clip = open_clip(path, spec.frames, spec.stride)
        return Sample(path.relative_to(root).as_posix(), clip.pictures, label)

    return open_video if subject.task == "video" else open_photo
