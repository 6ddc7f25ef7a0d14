"""Semantic segmentation after the network: the photo's mask, shares of classes, the metric."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import PictureError, UsageError
from edgevit.tasks.pixels.mask import Labels, mask_at
from edgevit.tasks.pixels.resize import (
    FloatArray,
    Picture,
    Size,
    apply_taps,
    nearest_index,
    resize_picture,
    taps,
)
from edgevit.tasks.preprocessing import Content, Prepared, Preprocessing, normalized

OFFICIAL_LONG = 2048  # the long side's limit in the official test pipeline
OFFICIAL_MULTIPLE = 32
STRIP_VALUES = 1 << 23  # float32 logits at network size held at once by `official_resize`
STRIP_PIXELS = 1 << 20  # labels counted at once


def preprocess_official(image: Picture, spec: Preprocessing) -> Prepared:
    """Make an input of the ADE20K test pipeline from a photo, uint8 RGB [H, W, 3].

    The pipeline of the TopFormer project (local_configs/_base_/datasets/ade20k_repeat.py): scale
    with kept proportions so that the short side is `min(spec.size)` but the long side at most 2048,
    each side rounded as `int(x * scale + 0.5)`; then stretch each side up to a multiple of 32. The
    shape varies with the photo. All resizes are those of OpenCV on uint8.
    Raises `PictureError` on a photo so thin that a side would vanish.
    """
    original = (image.shape[0], image.shape[1])
    scaled = resize_picture(image, _scaled_size(original, OFFICIAL_LONG, min(spec.size)))
    size = _up_to_multiple(scaled.shape[0]), _up_to_multiple(scaled.shape[1])
    return Prepared(normalized(resize_picture(scaled, size), spec), original, Content(0, 0, *size))


def restore_mask(mask: Labels, prepared: Prepared) -> Labels:
    """Cut the padding off a mask of network size, and scale it to the photo by nearest neighbor.

    Photo pixel i takes the mask's pixel `floor((i + 0.5) * n_mask / n_photo)`, in exact integers.
    Raises `UsageError` where the mask has not the size of the network's input.
    """
    _expect_size(mask.shape, prepared.tensor.shape[2:], "The mask")
    box = prepared.content
    rows = box.top + nearest_index(box.height, prepared.original_size[0])
    columns = box.left + nearest_index(box.width, prepared.original_size[1])
    return mask.take(rows, 0).take(columns, 1)


def official_resize(logits: FloatArray, prepared: Prepared) -> Labels:
    """The photo's mask by the official two resizes of the logits: to network size, then to photo.

    logits: float32 [C, h, w] or [1, C, h, w]. This is mmseg's whole-image inference
    (EncoderDecoder.whole_inference) but for its softmax, which changes no order. Done
    strip by strip: neither map is ever whole in memory.
    Raises `UsageError` on another dtype or rank.
    """
    if logits.ndim == 4 and logits.shape[0] == 1:
        logits = logits[0]
    if logits.dtype != np.float32 or logits.ndim != 3 or not logits.size:
        raise UsageError(
            f"Logits are float32 [C, h, w], not {logits.dtype} of shape {logits.shape}."
        )
    box = prepared.content
    height, width = prepared.tensor.shape[2:]
    inner_rows = taps(logits.shape[1], height).part(box.top, box.top + box.height)
    inner_columns = taps(logits.shape[2], width).part(box.left, box.left + box.width)
    rows = taps(box.height, prepared.original_size[0])
    columns = taps(box.width, prepared.original_size[1])
    strips = []
    step = max(1, STRIP_VALUES // (logits.shape[0] * max(box.width, logits.shape[2])))
    for top in range(0, box.height, step):
        start, stop = np.searchsorted(rows.first, (top, top + step))
        if start == stop:
            continue
        strip = rows.part(start, stop)
        low, high = int(strip.first[0]), int(strip.second[-1]) + 1
        inner = inner_rows.part(low, high)
        from_row, to_row = int(inner.first[0]), int(inner.second[-1]) + 1
        network = apply_taps(logits[:, from_row:to_row], inner.moved(from_row), inner_columns)
        strips.append(mask_at(network, strip.moved(low), columns))
    return np.concatenate(strips)


def class_shares(mask: Labels, labels: Sequence[str]) -> dict[str, float]:
    """The share of pixels of each class present, 0..1, the largest first.

    Raises `UsageError` on a label the mask holds but `labels` does not name, and on two equal
    names.
    """
    if len(set(labels)) != len(labels):
        raise UsageError("Two classes have the same name, so shares by name would be ambiguous.")
    counts = count_labels(mask, len(labels))
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda index: (-counts[index], index))
    return {labels[index]: float(counts[index] / mask.size) for index in order}


def count_labels(mask: Labels, classes: int) -> NDArray[np.int64]:
    """Pixels of each class, int64 [classes]; raises `UsageError` on a label of no class."""
    if not mask.size or int(mask.max()) >= classes:
        highest = int(mask.max()) if mask.size else "nothing"
        raise UsageError(f"The mask holds {highest}, which is no class of {classes}.")
    counts = np.zeros(classes, np.int64)
    flat = mask.reshape(-1)
    for start in range(0, flat.size, STRIP_PIXELS):
        counts += np.bincount(flat[start : start + STRIP_PIXELS], minlength=classes)
    return counts


def confusion(
    mask: Labels, truth: NDArray[np.integer], classes: int, ignore: int = 255
) -> NDArray[np.int64]:
    """Count pixels by (true, predicted) class, int64 [classes, classes]; sums over pictures.

    mask and truth have the same shape; pixels whose truth is `ignore` are left out.
    Raises `UsageError` on different shapes and on a label outside 0..classes - 1.
    """
    _expect_size(mask.shape, truth.shape, "The mask")
    counts = np.zeros(classes * classes, np.int64)
    predicted_flat, truth_flat = mask.reshape(-1), truth.reshape(-1)
    for start in range(0, truth_flat.size, STRIP_PIXELS):
        true = truth_flat[start : start + STRIP_PIXELS].astype(np.int64)
        predicted = predicted_flat[start : start + STRIP_PIXELS].astype(np.int64)
        kept = true != ignore
        true, predicted = true[kept], predicted[kept]
        for name, values in (("truth", true), ("mask", predicted)):
            if values.size and not 0 <= values.min() <= values.max() < classes:
                raise UsageError(
                    f"The {name} holds labels from {values.min()} to {values.max()}, "
                    f"but the classes are 0..{classes - 1}."
                )
        counts += np.bincount(true * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def mean_iou(counts: NDArray[np.int64]) -> tuple[float, NDArray[np.float64]]:
    """Mean and per-class intersection over union of a confusion matrix, as mmseg's mIoU.

    A class in neither the truth nor any prediction is NaN and left out of the mean; the mean of no
    class is NaN.
    """
    intersection = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - np.diag(counts)
    present = union > 0
    per_class = np.full(len(counts), np.nan)
    per_class[present] = intersection[present] / union[present]
    return (float(per_class[present].mean()) if present.any() else math.nan), per_class


def _scaled_size(photo: Size, long: int, short: int) -> Size:
    """mmcv's `rescale_size`: the largest scale that exceeds neither limit, halves rounded up."""
    scale = min(max(long, short) / max(photo), min(long, short) / min(photo))
    height, width = int(photo[0] * scale + 0.5), int(photo[1] * scale + 0.5)
    if min(height, width) < 1:
        raise PictureError(
            f"A photo of {photo[1]} x {photo[0]} is too thin to be scaled to {max(long, short)}.",
            next="edgevit run BUNDLE CROPPED_PICTURE -o DIR",
        )
    return height, width


def _up_to_multiple(side: int) -> int:
    return -(-side // OFFICIAL_MULTIPLE) * OFFICIAL_MULTIPLE


def _expect_size(shape: tuple[int, ...], wanted: tuple[int, ...], what: str) -> None:
    if shape != wanted:
        raise UsageError(f"{what} is {_times(shape)}, but {_times(wanted)} was expected.")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
