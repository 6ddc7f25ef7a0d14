"""From a network's mask or logits to the photo's own mask, and the shares of its classes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.mask import Labels, mask_at
from edgevit.tasks.pixels.resize import FloatArray, apply_taps, nearest_index, taps
from edgevit.tasks.preprocessing import Prepared

STRIP_VALUES = 1 << 23  # float32 logits at network size held at once by `official_resize`
STRIP_PIXELS = 1 << 20  # labels counted at once


def restore_mask(mask: Labels, prepared: Prepared) -> Labels:
    """Cut the padding off a mask of network size, and scale it to the photo by nearest neighbor.

    Photo pixel i takes the mask's pixel `floor((i + 0.5) * n_mask / n_photo)`, in exact integers.
    Raises `UsageError` where the mask has not the size of the network's input.
    """
    expect_size(mask.shape, prepared.tensor.shape[2:], "The mask")
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


def expect_size(shape: tuple[int, ...], wanted: tuple[int, ...], what: str) -> None:
    """Raise `UsageError` where two sizes differ; `what` begins its sentence."""
    if shape != wanted:
        raise UsageError(f"{what} is {_times(shape)}, but {_times(wanted)} was expected.")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
