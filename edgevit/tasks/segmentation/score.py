"""How good masks are: a confusion matrix that sums over pictures, and its mean IoU."""

import math

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.mask import Labels
from edgevit.tasks.segmentation.masks import STRIP_PIXELS, expect_size


def confusion(
    mask: Labels, truth: NDArray[np.integer], classes: int, ignore: int = 255
) -> NDArray[np.int64]:
    """Count pixels by (true, predicted) class, int64 [classes, classes]; sums over pictures.

    mask and truth have the same shape; pixels whose truth is `ignore` are left out.
    Raises `UsageError` on different shapes and on a label outside 0..classes - 1.
    """
    expect_size(mask.shape, truth.shape, "The mask")
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
