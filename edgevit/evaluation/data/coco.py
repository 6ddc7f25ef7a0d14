"""COCO-style folders: photos, and a JSON of persons with their boxes and keypoints, not trusted."""

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import (
    LAYOUTS,
    DataSet,
    Sample,
    check_inside,
    folder_title,
    identity_of,
    listed,
    shuffled,
)
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pose.skeletons import skeleton_with
from edgevit.tasks.preprocessing import LONGEST_BOX, Box
from edgevit.tasks.task import Subject

PREFIX = "person_keypoints_"
MOST_BYTES = 256 << 20  # COCO's training annotations have 240 MB
MOST_IMAGES, MOST_PEOPLE = 1_000_000, 2_000_000
MOST_IN_PICTURE = 1000


@dataclass(frozen=True, slots=True, eq=False)
class _Person:
    box: Box
    joints: NDArray[np.float32]  # [K, 3]
    area: float


def annotation_file(root: Path) -> Path | None:
    """The folder's `annotations/person_keypoints_*.json`, or beside the photos; None without one.

    Of several the one of a validation split. Raises `UsageError` where that is not one.
    """
    folders = [root, root / "annotations"]
    files = [
        path
        for folder in folders
        if folder.is_dir()
        for path in listed(root, check_inside(root, folder))
        if path.name.startswith(PREFIX) and path.suffix == ".json" and path.is_file()
    ]
    if len(files) > 1:
        files = [path for path in files if "val" in path.stem]
        if len(files) != 1:
            raise UsageError(
                f"{root} holds several {PREFIX}*.json, and none of them is named val.",
                next="keep the file that is meant, and move the others away",
            )
    return files[0] if files else None


def coco_folder(root: Path, subject: Subject, annotations: Path) -> DataSet:
    """Every photo with a person of whom a keypoint is labeled; crowds are left out.

    Photos lie in a folder named as the JSON's split (`val2017`), in `images`, or beside the JSON.
    The metric is AP with the persons' own boxes, or PCK for keypoints without known sigmas.
    Raises `UsageError` on anything else than COCO's JSON, and on file names that leave the folder.
    """
    content = _content(check_inside(root, annotations))
    people = _people(annotations, content, len(subject.labels))
    names = _names(annotations, content, people)
    _check_keypoints(annotations, content, subject.labels)
    folder = _photo_folder(root, annotations)
    places = {check_inside(root, folder / name): key for key, name in names.items()}
    missing = next((path for path in places if not path.is_file()), None)
    if missing is not None:
        raise UsageError(
            f"{annotations.name} names {missing.relative_to(root)}, which does not exist.",
            next=f"ls {shlex.quote(str(folder))}; {LAYOUTS}",
        )
    if not places:
        raise _unfit(annotations, "no photo in it has a person with a labeled keypoint")
    order = shuffled(root, list(places))
    identity = identity_of(root, [annotations, *order], "coco")

    def open_sample(index: int) -> Sample:
        path = check_inside(root, order[index])
        persons = people[places[path]]
        return Sample(
            path.relative_to(root).as_posix(),
            (open_picture(path),),
            boxes=tuple(person.box for person in persons),
            joints=np.stack([person.joints for person in persons]),
            areas=tuple(person.area for person in persons),
        )

    known = bool(skeleton_with(subject.labels).sigmas)
    note = f"{sum(map(len, people.values()))} persons of {annotations.name}, in their own boxes."
    metric = "AP" if known else "PCK"
    return DataSet(folder_title(root, identity), identity, metric, len(order), open_sample, note)


def _content(path: Path) -> Mapping[str, Any]:
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB.", next=LAYOUTS)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise _unfit(path, "it is no JSON") from None
    if not isinstance(content, dict):
        raise _unfit(path, "it is no object")
    for name, most in (("images", MOST_IMAGES), ("annotations", MOST_PEOPLE)):
        entries = content.get(name)
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise _unfit(path, f"{name} is no list of objects")
        if len(entries) > most:
            raise _unfit(path, f"it has more than {most} {name}")
    return content


def _people(path: Path, content: Mapping[str, Any], keypoints: int) -> dict[int, list[_Person]]:
    """The persons with labeled keypoints, by the number of their photo."""
    people: dict[int, list[_Person]] = {}
    for entry in content["annotations"]:
        if entry.get("iscrowd") or not entry.get("num_keypoints", 1):
            continue
        image = entry.get("image_id")
        if type(image) is not int:
            raise _unfit(path, "an annotation has no image_id")
        joints = np.array(_numbers(path, entry.get("keypoints"), 3 * keypoints, "keypoints"))
        person = joints.reshape(keypoints, 3).astype(np.float32)
        if not (person[:, 2] > 0).any():
            continue
        x, y, width, height = _numbers(path, entry.get("bbox"), 4, "bbox")
        if width <= 0 or height <= 0:
            raise _unfit(path, "a bbox has no width or no height")
        # Without an area OKS takes the box's, as cocoapi does for detections.
        (area,) = _numbers(path, [entry.get("area", width * height)], 1, "area", LONGEST_BOX**2)
        if area <= 0:
            raise _unfit(path, "an area is not above 0")
        persons = people.setdefault(image, [])
        persons.append(_Person((x, y, width, height), person, area))
        if len(persons) > MOST_IN_PICTURE:
            raise _unfit(path, f"a photo has more than {MOST_IN_PICTURE} persons")
    return people


def _names(
    path: Path, content: Mapping[str, Any], people: Mapping[int, list[_Person]]
) -> dict[int, str]:
    """The file name of each photo that has persons; none leaves the folder."""
    names: dict[int, str] = {}
    for entry in content["images"]:
        key, name = entry.get("id"), entry.get("file_name")
        if type(key) is not int or not isinstance(name, str):
            raise _unfit(path, "an image has no id or no file_name")
        parts = PurePosixPath(name).parts
        outside = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
        if outside or not parts:
            raise UsageError(
                f"{path.name} names a photo outside the folder ({name[:100]!r}); it is not opened.",
                next="get the annotations from where they came, and do not trust this file",
            )
        if key in people:
            names[key] = name
    lost = next((key for key in people if key not in names), None)
    if lost is not None:
        raise _unfit(path, f"an annotation is of the image {lost}, which is not listed")
    if len(set(names.values())) != len(names):
        raise _unfit(path, "two images have the same file_name")
    return names


def _check_keypoints(path: Path, content: Mapping[str, Any], labels: tuple[str, ...]) -> None:
    """Raise `UsageError` where the JSON says that its keypoints are others than the network's."""
    categories = content.get("categories")
    for category in categories if isinstance(categories, list) else ():
        names = category.get("keypoints") if isinstance(category, dict) else None
        if isinstance(names, list) and tuple(names) != labels and skeleton_with(labels).limbs:
            raise _unfit(path, "its keypoints have other names than the network's")


def _photo_folder(root: Path, annotations: Path) -> Path:
    split = annotations.stem.removeprefix(PREFIX)
    for place in (root / split, root / "images" / split, root / "images"):
        if place.is_dir():
            return check_inside(root, place)
    return annotations.parent if annotations.parent == root else root


def _numbers(
    path: Path, value: object, count: int, name: str, most: float = LONGEST_BOX
) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise _unfit(path, f"{name} is not {count} numbers")
    # The bound keeps whole numbers of any length out of float(); NaN fails it too.
    if not all(type(item) in (int, float) and abs(item) <= most for item in value):
        raise _unfit(path, f"{name} holds what is no number within {most:g}")
    numbers = [float(item) for item in value]
    assert all(map(math.isfinite, numbers))
    return numbers


def _unfit(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} holds no keypoints of persons: {why}.", next=LAYOUTS)
