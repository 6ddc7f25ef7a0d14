"""Between the network's arrays and a file's."""

import numpy as np
import pytest

from edgevit.bundle.ports import from_file, to_file
from edgevit_export.artifact import TensorSpec

ARRAY = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)


def test_channels_go_last_and_come_back():
    spec = TensorSpec("x", (1, 3, 4, 2), "float32", "NHWC")
    there = to_file(ARRAY, spec)
    assert there.shape == spec.shape
    assert there.flags.c_contiguous
    assert there[0, 1, 2, 1] == ARRAY[0, 1, 1, 2]
    back = from_file(there, spec)
    assert np.array_equal(back, ARRAY)
    assert back.flags.c_contiguous


@pytest.mark.parametrize("layout", ["NCHW", "any"])
def test_other_layouts_stay(layout):
    spec = TensorSpec("x", ARRAY.shape, "float32", layout)
    assert np.array_equal(to_file(ARRAY, spec), ARRAY)
    assert np.array_equal(from_file(ARRAY, spec), ARRAY)


def test_only_pictures_have_a_layout():
    vector = np.zeros((1, 4), np.float32)
    spec = TensorSpec("x", (1, 4), "float32", "NHWC")
    assert to_file(vector, spec).shape == from_file(vector, spec).shape == (1, 4)


def test_what_a_runtime_gets_is_contiguous():
    turned = ARRAY.transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    assert to_file(turned, TensorSpec("x", turned.shape, "float32", "NCHW")).flags.c_contiguous
