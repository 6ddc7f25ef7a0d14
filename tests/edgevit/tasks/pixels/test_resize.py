import os
import platform
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import apply_taps, bilinear, nearest_index, resize_picture, taps

side = st.integers(1, 40)

# Of small maps, and of those of three channels, torch may take another kernel with another order of
# operations.
LARGE = [
    ((5, 14, 14), (112, 112)),
    ((5, 13, 17), (137, 201)),
    ((4, 30, 30), (1000, 403)),
    ((4, 200, 180), (150, 131)),
]

BASELINE = """
import numpy as np, torch, torch.nn.functional as F
from edgevit.tasks.pixels.resize import bilinear
torch.set_num_threads(1)
assert torch.backends.cpu.get_cpu_capability() == "DEFAULT"
for shape, size in {cases}:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    wanted = F.interpolate(torch.from_numpy(x)[None], size=size, mode="bilinear")[0].numpy()
    assert np.array_equal(bilinear(x, size), wanted), (shape, size)
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="torch's baseline kernel is free of fused multiply-adds on x86 only",
)
def test_equals_torchs_baseline_kernel_to_the_last_bit() -> None:
    run = subprocess.run(
        [sys.executable, "-c", BASELINE.format(cases=LARGE)],
        env={
            **os.environ,
            "ATEN_CPU_CAPABILITY": "default",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@settings(deadline=None, derandomize=True, max_examples=60)
@given(side, side, side, side, st.integers(0, 2**32 - 1))
def test_differs_from_torchs_fast_kernels_by_rounding_only(
    h: int, w: int, out_h: int, out_w: int, seed: int
) -> None:
    x = np.random.default_rng(seed).normal(0, 5, (3, h, w)).astype(np.float32)
    wanted = F.interpolate(torch.from_numpy(x)[None], size=(out_h, out_w), mode="bilinear")[0]
    # Two interpolations of four roundings each, and weights that differ by the rounding of the
    # position.
    limit = (8 + 4 * max(h, w)) * np.finfo(np.float32).eps * np.abs(x).max()
    assert np.abs(bilinear(x, (out_h, out_w)) - wanted.numpy()).max() <= limit


def test_batches_are_resized_like_single_maps() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 7)).astype(np.float32)
    both = bilinear(x, (11, 9))
    assert both.dtype == np.float32
    assert np.array_equal(both[1], bilinear(x[1], (11, 9)))


def test_a_part_of_the_taps_gives_that_part_of_the_map() -> None:
    x = np.random.default_rng(0).standard_normal((3, 9, 7)).astype(np.float32)
    rows, columns = taps(9, 31), taps(7, 20)
    part = rows.part(10, 17)
    low, high = part.first[0], part.second[-1] + 1
    strip = apply_taps(x[:, low:high], part.moved(int(low)), columns)
    assert np.array_equal(strip, bilinear(x, (31, 20))[:, 10:17])


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_refuses_sizes_below_one(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="at least 1 pixel"):
        bilinear(np.zeros((1, 2, 2), np.float32), size)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        resize_picture(np.zeros((2, 2, 3), np.uint8), size)


def test_refuses_other_dtypes() -> None:
    with pytest.raises(UsageError, match="float32"):
        bilinear(np.zeros((1, 2, 2)), (4, 4))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="uint8"):
        resize_picture(np.zeros((2, 2, 3), np.float32), (4, 4))  # type: ignore[arg-type]


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(1, 70),
    st.integers(0, 2**32 - 1),
)
def test_pictures_are_resized_as_opencv_does(
    h: int, w: int, out_h: int, out_w: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    wanted = cv2.resize(image, (out_w, out_h), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_picture(image, (out_h, out_w)), wanted)


@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ((683, 512), (448, 448)),
        ((480, 640), (240, 320)),  # exactly half: OpenCV averages 2x2 pixels
        ((480, 640), (240, 448)),  # half along one side only
        ((448, 597), (448, 608)),
        ((1200, 1600), (448, 448)),
        ((64, 64), (448, 448)),
    ],
)
def test_photo_sized_pictures_are_resized_as_opencv_does(
    photo: tuple[int, int], size: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*photo, 3), dtype=np.uint8)
    wanted = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(resize_picture(image, size), wanted)


def test_nearest_index_by_hand() -> None:
    assert nearest_index(4, 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert nearest_index(3, 2).tolist() == [0, 2]  # (0.5 * 1.5, 1.5 * 1.5) floored
    assert nearest_index(2, 5).tolist() == [0, 0, 1, 1, 1]  # 0.2 0.6 1.0 1.4 1.8 floored
