"""Segmentation: the class of each pixel of a photo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edgevit.errors import UsageError
from edgevit.tasks.pixels.core import fast_mask
from edgevit.tasks.pixels.mask import Labels
from edgevit.tasks.pixels.resize import FloatArray, Picture, Size
from edgevit.tasks.preprocessing import Prepared, Preprocessing, preprocess
from edgevit.tasks.segmentation.draw import overlay
from edgevit.tasks.segmentation.masks import class_shares, official_resize, restore_mask
from edgevit.tasks.task import Outputs, Settings, Subject, Task, View

NAMED = 3  # classes of a headline


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """The masks of one input."""

    mask: Labels  # [H, W], class index, at the photo's size
    network_mask: Labels  # at the network's input size, the exact mask
    logits: FloatArray | None = None  # [C, h, w]; None where the network returned the mask
    prepared: Prepared | None = None  # the input, for `official_resize`


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The class of each pixel."""

    photo: Picture  # RGB [H, W, 3]
    mask: Labels  # [H, W], class index, at the photo's size
    network_mask: Labels  # at the network's input size, the exact mask
    shares: Mapping[str, float]  # class name -> share of the photo's pixels
    labels: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The largest classes."""
        ranked = sorted(self.shares.items(), key=lambda item: -item[1])[:NAMED]
        return ", ".join(f"{name} {share:.1%}" for name, share in ranked)

    def to_json(self) -> dict[str, object]:
        """`shares` of the photo by class."""
        return {"shares": {name: round(share, 6) for name, share in self.shares.items()}}

    def drawings(self) -> Mapping[str, Image.Image]:
        """The overlay with its legend, and the mask, one class index a pixel."""
        return {
            "overlay": overlay(self.photo, self.mask, self.labels),
            "mask": Image.fromarray(self.mask),
        }


def prepare(view: View, spec: Preprocessing) -> list[Prepared]:
    """The photo as one input."""
    return [preprocess(view.frames[0], spec)]


def decode(outputs: Outputs, subject: Subject, prepared: Prepared) -> Masks:
    """Logits [1, C, h, w], or the label map [1, H, W] of a file that holds resize and argmax.

    Raises `CheckFailed` on another shape, and on labels of no class.
    """
    count, size = len(subject.labels), subject.preprocessing.size
    logits: FloatArray | None = None
    if np.issubdtype(outputs.arrays[0].dtype, np.integer):
        network_mask = _labels(outputs, count, size)
    else:
        logits = _logits(outputs, count)
        network_mask = fast_mask(logits, size)
    return Masks(restore_mask(network_mask, prepared), network_mask, logits, prepared)


def _labels(outputs: Outputs, count: int, size: Size) -> Labels:
    array = outputs.arrays[0]
    if array.shape != (1, *size):
        raise outputs.refused(f"a mask of shape {array.shape} for an input of {size[0]}x{size[1]}")
    if array.min() < 0 or array.max() >= count:
        raise outputs.refused(f"labels outside its {count} classes")
    labels: Labels = array[0].astype(np.uint8 if count <= 256 else np.uint16)
    return labels


def _logits(outputs: Outputs, count: int) -> FloatArray:
    logits = outputs.floats()
    if logits.ndim != 4 or logits.shape[:2] != (1, count) or not logits.size:
        raise outputs.refused(f"logits of shape {logits.shape} for {count} classes")
    scores: FloatArray = logits[0]
    return scores


def result_of(
    view: View, answers: Sequence[Masks], subject: Subject, settings: Settings
) -> Segmentation:
    """The photo and its mask; with `official_resize` the mask of the twice resized logits."""
    (answer,) = answers
    mask = answer.mask
    if settings.official_resize:
        if answer.logits is None or answer.prepared is None:
            raise needs_logits()
        mask = official_resize(answer.logits, answer.prepared)
    labels = subject.labels
    shares = class_shares(mask, labels)
    return Segmentation(view.frames[0], mask, answer.network_mask, shares, labels)


def needs_logits() -> UsageError:
    """The error for `official_resize` of a file that returns the mask."""
    return UsageError(
        "--official-resize needs logits; this bundle's files return the mask.",
        next="edgevit export with --output logits",
    )


TASK = Task(
    fits=("stretch", "pad"),  # a mask must come back to all of the photo
    settings=("official_resize",),
    prepare=prepare,
    decode=decode,
    result_of=result_of,
    outputs="The output has a value a class at a coarse grid: resized to the picture (bilinear,"
    " half-pixel centers), the largest is the class. As `mask` it is the class itself.",
)
