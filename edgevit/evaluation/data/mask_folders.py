"""ADE20K-style folders: photos, and beside them masks of class numbers."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgevit.errors import PictureError, UsageError
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
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.task import Subject

ZeroLabel = Literal["ignore", "keep"]
ZERO_LABELS: tuple[ZeroLabel, ...] = ("ignore", "keep")
SPLIT = "validation"
IGNORED = 255  # in a file: no class is known, in either rule (mmseg's ignore_index)
UNKNOWN = -1  # the same in `Sample.mask`
ADE_CLASSES, ADE_FIRST = 150, "wall"
MOST_PIXELS = 64_000_000
INTEGER_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")


def zero_label_of(labels: tuple[str, ...]) -> ZeroLabel:
    """What 0 means in the masks of a network with these labels, unless --zero-label says otherwise.

    ADE20K's masks hold 0..150: 0 is "other objects", which is no class, and class c is c + 1
    (mmseg's `reduce_zero_label`). So a network with ADE20K's 150 labels ignores 0, and any other
    one takes numbers as they are.
    """
    ade = len(labels) == ADE_CLASSES and labels[0].startswith(ADE_FIRST)
    return "ignore" if ade else "keep"


def mask_folders(root: Path, subject: Subject, zero: ZeroLabel | None = None) -> DataSet:
    """`images/validation/NAME.jpg` with `annotations/validation/NAME.png`, or both without
    `validation`.

    zero: what 0 is in the masks; None: `zero_label_of`. Raises `UsageError` where a photo has no
    mask, there is no photo, or a link leads out.
    """
    images, masks = root / "images", root / "annotations"
    if (images / SPLIT).is_dir() and (masks / SPLIT).is_dir():
        images, masks = images / SPLIT, masks / SPLIT
    photos = pictures_in(listed(root, check_inside(root, images)))
    if not photos:
        raise empty(images, "pictures")
    files = listed(root, check_inside(root, masks))
    by_stem = {p.stem: p for p in files if p.suffix.lower() == ".png" and p.is_file()}
    lone = next((photo for photo in photos if photo.stem not in by_stem), None)
    if lone is not None:
        raise UsageError(
            f"{lone.relative_to(root)} has no mask {masks.relative_to(root) / lone.stem}.png.",
            next=f"add it, or take the photo away; {LAYOUTS}",
        )
    order = shuffled(root, photos)
    rule = zero or zero_label_of(subject.labels)
    files = [path for photo in order for path in (photo, by_stem[photo.stem])]
    identity = identity_of(root, files, "masks", rule)

    def open_sample(index: int) -> Sample:
        photo = check_inside(root, order[index])
        path = check_inside(root, by_stem[photo.stem])
        picture = open_picture(photo)
        mask = open_mask(path, len(subject.labels), rule)
        if mask.shape != picture.shape[:2]:
            raise PictureError(
                f"{path} is {mask.shape[1]} x {mask.shape[0]}, its photo {photo.name}"
                f" {picture.shape[1]} x {picture.shape[0]}.",
                next="masks have the size of their photos",
            )
        return Sample(photo.relative_to(root).as_posix(), (picture,), mask=mask)

    meant = "0 is no class" if rule == "ignore" else "0 is the first class"
    note = f"In the masks {meant} (--zero-label {rule}), and {IGNORED} is left out."
    return DataSet(folder_title(root, identity), identity, "mIoU", len(order), open_sample, note)


def open_mask(path: Path, classes: int, zero: ZeroLabel) -> NDArray[np.int32]:
    """Class numbers [H, W] of a PNG of whole numbers or a palette, -1 where no class is known.

    zero "ignore": 0 is none and c is class c - 1; "keep": c is class c. 255 is none in both.
    Raises `PictureError` on what is no such PNG, too large, or of other classes.
    """
    values = _whole_numbers(path)
    unknown = values == IGNORED
    if zero == "ignore":
        unknown |= values == 0
        values = values - 1
    values[unknown] = UNKNOWN
    highest, lowest = int(values.max(initial=0)), int(values.min(initial=0))
    if highest >= classes or lowest < UNKNOWN:
        shift = 1 if zero == "ignore" else 0
        other = "ignore" if zero == "keep" else "keep"
        raise PictureError(
            f"{path} holds the number {highest + shift}, which is not one of the network's"
            f" {classes} classes with --zero-label {zero}.",
            next=f"--zero-label {other}, or masks of the network's own classes",
        )
    return values


def _whole_numbers(path: Path) -> NDArray[np.int32]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of oddities, and of sizes checked here
            with Image.open(path, formats=("PNG",)) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise _unfit(path, f"has more than {MOST_PIXELS} pixels")
                if image.mode not in INTEGER_MODES:
                    raise _unfit(path, f"holds colors ({image.mode}), not one number a pixel")
                return np.array(image).astype(np.int32)
    except (PictureError, MemoryError):
        raise
    # Decoders raise almost anything on damaged bytes.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise _unfit(path, f"is no readable PNG ({reason})") from None


def _unfit(path: Path, why: str) -> PictureError:
    return PictureError(
        f"The mask {path} {why}.", next="masks are PNG files of one class number a pixel"
    )
