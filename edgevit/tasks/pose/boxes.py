"""`--boxes FILE.json`: where the persons of a picture are, x, y, width and height in px."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgevit.errors import UsageError
from edgevit.tasks.preprocessing import LONGEST_BOX, Box

MOST_BYTES = 256 << 20  # COCO's person annotations have 100 MB
MOST_BOXES = 1000  # of one picture
SHAPES = (
    '{"photo.jpg": [[x, y, width, height], ...]}, a list of such boxes for one picture, or COCO\'s'
    " images and annotations"
)


def read_boxes(path: Path, pictures: Sequence[str]) -> dict[str, tuple[Box, ...]]:
    """The boxes of each picture, by its file name; a picture may have none.

    Raises `UsageError` where the file cannot be read, has another shape, or misses a picture.
    """
    content = _content(path)
    boxes: Mapping[str, Any]
    if isinstance(content, list):
        if len(pictures) != 1:
            raise _unfit(path, f"a list of boxes is for one picture, and {len(pictures)} are given")
        boxes = {pictures[0]: content}
    elif isinstance(content, dict) and "annotations" in content:
        boxes = _coco(path, content)
    elif isinstance(content, dict):
        boxes = content
    else:
        raise _unfit(path, "it holds neither an object nor a list")
    missed = [name for name in pictures if name not in boxes]
    if missed:
        raise UsageError(
            f"{path} does not name the picture {missed[0]}.",
            next="name each picture in it as its file is named",
        )
    return {name: _boxes(path, boxes[name]) for name in pictures}


def _content(path: Path) -> object:
    try:
        with path.open("rb") as stream:  # perhaps a pipe, whose size nobody knows before
            text = stream.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise UsageError(f"{path} is larger than {MOST_BYTES >> 20} MiB.")
        return json.loads(text.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}.",
            next=f"ls -l {shlex.quote(str(path.parent))}",
        ) from None
    except (ValueError, RecursionError):
        raise _unfit(path, "it is no JSON") from None


def _coco(path: Path, content: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Boxes by file name of COCO's annotations."""
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        boxes: dict[str, list[Any]] = {name: [] for name in names.values()}
        for entry in content["annotations"]:
            boxes[names[entry["image_id"]]].append(entry["bbox"])
    except (KeyError, TypeError):
        raise _unfit(path, "its images and annotations are not COCO's") from None
    return boxes


def _boxes(path: Path, value: object) -> tuple[Box, ...]:
    if not isinstance(value, list) or len(value) > MOST_BOXES:
        raise _unfit(path, f"each picture has a list of up to {MOST_BOXES} boxes")
    boxes: list[Box] = []
    for box in value:
        if not isinstance(box, list) or len(box) != 4:
            raise _unfit(path, "a box is four numbers")
        if not all(type(side) in (int, float) and abs(side) <= LONGEST_BOX for side in box):
            raise _unfit(path, f"the numbers of a box lie within {LONGEST_BOX:g}")
        x, y, width, height = (float(side) for side in box)
        if width <= 0 or height <= 0:
            raise _unfit(path, "a box has a width and a height above 0")
        boxes.append((x, y, width, height))
    return tuple(boxes)


def _unfit(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} holds no boxes: {why}.", next=f"write {SHAPES}")
