"""Between the arrays of a network (NCHW) and those a file holds (its own layout)."""

import numpy as np
from numpy.typing import NDArray

from edgevit_export.artifact import TensorSpec

Array = NDArray[np.generic]


def to_file(array: Array, spec: TensorSpec) -> Array:
    """NCHW to the file's layout, contiguous, in the file's dtype where that loses nothing."""
    if spec.layout == "NHWC" and array.ndim == 4:
        array = array.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(array)


def from_file(array: Array, spec: TensorSpec) -> Array:
    """The file's layout to NCHW, contiguous."""
    if spec.layout == "NHWC" and array.ndim == 4:
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array)
