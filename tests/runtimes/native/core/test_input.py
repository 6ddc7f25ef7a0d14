"""A network's input in C against numpy's, from frames of every kind."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.core import Core, InputForm
from edgevit.tasks.pixels.frame import (
    Frame,
    Rotation,
    rgb_frame,
    upright_picture,
    yuv_frame,
    yuv_to_rgb,
)
from edgevit.tasks.preprocessing import Preprocessing, normalized
from tests.support.native import BUILDS, program
from tests.support.once import Shared

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SCALE, ZERO_POINT = 0.0187, 114


def wanted(frame: Frame, form: InputForm) -> NDArray[np.generic]:
    """The definition: upright picture, cut or padded, normalized, quantized, laid out."""
    height, width = form.size
    picture = upright_picture(frame, form.resized, form.rotation, form.mirror)
    shown = picture[form.corner[0] :, form.corner[1] :][:height, :width]
    values = np.zeros((1, 3, height, width), np.float32)
    spec = Preprocessing(size=form.size, mean=form.mean, std=form.std)
    values[:, :, : shown.shape[0], : shown.shape[1]] = normalized(shown, spec)
    if form.layout == "NHWC":
        values = values.transpose(0, 2, 3, 1)
    if form.dtype.startswith("float"):
        return values.astype(form.dtype)
    levels = np.rint(values.astype(np.float64) / form.scale) + form.zero_point
    limits = np.iinfo(form.dtype)
    return levels.clip(limits.min, limits.max).astype(form.dtype)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """RGB of pixel stride 3 or 4, YUV of separate or interleaved chroma; rows padded or not."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pad = draw(st.integers(0, 9))

    def plane(rows: int, columns: int, stride: int) -> NDArray[np.uint8]:
        buffer = rng.integers(0, 256, (rows, columns * stride + pad), np.uint8)
        return buffer[:, : columns * stride : stride]

    if draw(st.booleans()):
        return rgb_frame(rng.integers(0, 256, (height, width, draw(st.integers(3, 4))), np.uint8))
    half, stride = ((height + 1) // 2, (width + 1) // 2), draw(st.integers(1, 3))
    return Frame("yuv", (plane(height, width, 1), plane(*half, stride), plane(*half, stride)))


@st.composite
def forms(draw: st.DrawFn) -> InputForm:
    size = draw(st.integers(1, 40)), draw(st.integers(1, 70))
    fit = draw(st.sampled_from(["stretch", "pad", "crop"]))
    resized, corner = size, (0, 0)
    if fit == "pad":
        resized = draw(st.integers(1, size[0])), draw(st.integers(1, size[1]))
    elif fit == "crop":
        corner = draw(st.integers(0, 5)), draw(st.integers(0, 5))
        resized = size[0] + 2 * corner[0], size[1] + 2 * corner[1]
    dtype = draw(st.sampled_from(["float32", "float16", "uint8", "int8"]))
    return InputForm(
        size=size,
        resized=resized,
        corner=corner,
        mean=MEAN,
        std=STD,
        rotation=draw(st.sampled_from(get_args(Rotation))),
        mirror=draw(st.booleans()),
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        dtype=dtype,
        scale=SCALE,
        zero_point=ZERO_POINT if dtype == "uint8" else ZERO_POINT - 128,
    )


@settings(deadline=None, derandomize=True, max_examples=600)
@given(frames(), forms())
def test_the_library_is_numpys_input(host_core: Core, frame: Frame, form: InputForm) -> None:
    result = host_core.network_input(frame, form)
    assert result.dtype == form.dtype
    assert np.array_equal(result, wanted(frame, form))


def scene(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(y / 9 + x / 31 * i) + np.cos(x / 7 - y * i / 40) for i in (1, 2, 3)]
    return np.rint(np.stack(waves, -1) * 60 + 128).clip(0, 255).astype(np.uint8)


UPRIGHT = InputForm((93, 101), (93, 101), MEAN, STD)
CASES: dict[str, tuple[Frame, InputForm]] = {
    "camera": (yuv_frame(scene(180, 320)), UPRIGHT),
    "turned": (yuv_frame(scene(180, 320)), replace(UPRIGHT, rotation=90)),
    "turned back, selfie": (
        yuv_frame(scene(181, 319)),
        replace(UPRIGHT, rotation=270, mirror=True),
    ),
    "upside down, NHWC": (
        yuv_frame(scene(180, 320)),
        replace(UPRIGHT, rotation=180, layout="NHWC"),
    ),
    "enlarged": (yuv_frame(scene(40, 33)), UPRIGHT),
    "int8": (
        rgb_frame(scene(180, 320)),
        replace(UPRIGHT, dtype="int8", scale=SCALE, zero_point=ZERO_POINT - 128, layout="NHWC"),
    ),
    "half": (rgb_frame(scene(180, 320)), replace(UPRIGHT, dtype="float16", resized=(52, 101))),
    "half of the sides": (rgb_frame(scene(186, 202)), UPRIGHT),
    "cut": (yuv_frame(scene(180, 320)), replace(UPRIGHT, resized=(110, 195), corner=(8, 47))),
    "one pixel": (rgb_frame(scene(1, 1)), UPRIGHT),
}


def words(frame: Frame, form: InputForm, folder: Path) -> list[str]:
    """What `edgevit-core input` is told; the frame's planes one after the other in a file."""
    told, parts, offset = [], [], 0
    for place, plane in enumerate(frame.planes):
        rows, columns = plane.strides
        size = (plane.shape[0] - 1) * rows + (plane.shape[1] - 1) * columns + 1
        parts.append(np.lib.stride_tricks.as_strided(plane, (size,), (1,)).tobytes())
        told.append(f"plane{place}={offset},{size},{rows},{columns}")
        offset += size
    (folder / "frame").write_bytes(b"".join(parts))
    return [
        *("input", f"in={folder / 'frame'}", f"out={folder / 'input'}", *told),
        *(f"colors={frame.colors}", f"frame_height={frame.size[0]}"),
        *(f"frame_width={frame.size[1]}", f"height={form.size[0]}", f"width={form.size[1]}"),
        *(f"resized_height={form.resized[0]}", f"resized_width={form.resized[1]}"),
        *(f"top={form.corner[0]}", f"left={form.corner[1]}", f"rotation={form.rotation}"),
        *(f"mirror={int(form.mirror)}", f"layout={form.layout.lower()}", f"type={form.dtype}"),
        *("mean=" + ",".join(map(repr, form.mean)), "std=" + ",".join(map(repr, form.std))),
        *(f"scale={form.scale!r}", f"zero_point={form.zero_point}"),
    ]


@pytest.mark.parametrize("build", list(BUILDS))
def test_every_build_is_numpys_input(shared: Shared, tmp_path: Path, build: str) -> None:
    run = program(shared, build)
    for name, (frame, form) in CASES.items():
        done = run(*words(frame, form, tmp_path))
        assert done.returncode == 0, (name, done.stderr)
        result = np.fromfile(tmp_path / "input", form.dtype).reshape(form.shape)
        assert np.array_equal(result, wanted(frame, form)), f"{build}, {name}"


REFUSED: dict[str, tuple[str, str]] = {
    "width=0": ("status 2", "out of bounds"),
    "width=4097": ("status 2", ""),
    "resized_width=0": ("status 2", ""),
    "left=101": ("status 2", ""),
    "top=-1": ("status 2", ""),
    "frame_width=16385": ("status 2", ""),
    "frame_height=181": ("status 3", "does not lie within its buffer"),
    "frame_width=321": ("status 3", ""),
    "plane1=57600,28799,320,3": ("status 3", ""),
    "plane2=57600,28799,0,1": ("status 2", ""),
    "plane0=0,57600,2147483647,1": ("status 2", ""),
    "rotation=45": ("status 5", "does not exist"),
    "mirror=2": ("status 5", ""),
    "std=1,0,1": ("status 6", "above 0"),
    "mean=1,nan,1": ("status 6", ""),
}


@pytest.mark.parametrize("word", list(REFUSED))
def test_what_cannot_be_is_refused(shared: Shared, tmp_path: Path, word: str) -> None:
    frame, form = CASES["camera"]
    name = word.partition("=")[0]
    told = [
        word if given.startswith(f"{name}=") else given for given in words(frame, form, tmp_path)
    ]
    done = program(shared, "sanitized")(*told)
    assert done.returncode == 1, done.stderr
    assert all(part in done.stderr for part in REFUSED[word])
    assert not (tmp_path / "input").exists()


def test_frames_of_numpy_say_what_they_are() -> None:
    picture = scene(5, 7)
    y, u, v = yuv_frame(picture).planes
    assert (y.shape, u.shape, v.shape) == ((5, 7), (3, 4), (3, 4))
    with pytest.raises(UsageError, match="rgb or yuv"):
        Frame("cmyk", (y, u, v))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"planes of a yuv frame of 7 x 5 are uint8 of \[3, 4\]"):
        Frame("yuv", (y, u, v[:2]))
    with pytest.raises(UsageError, match="0, 90, 180 or 270"):
        upright_picture(rgb_frame(picture), (5, 7), 45)  # type: ignore[arg-type]
    assert np.array_equal(upright_picture(rgb_frame(picture), (5, 7)), picture)


def test_colors_are_those_of_jfif() -> None:
    """Against the float formulas, over a grid of all corners and the middle."""
    grid = np.array([0, 1, 64, 127, 128, 129, 200, 254, 255], np.uint8)
    y, u, v = (axis.ravel() for axis in np.meshgrid(grid, grid, grid))
    blue, red = u.astype(float) - 128, v.astype(float) - 128
    exact = (y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue)
    for plane, value in zip(yuv_to_rgb(y, u, v), exact, strict=True):
        assert np.abs(plane - value.clip(0, 255)).max() <= 0.51


def test_a_frame_of_a_picture_gives_the_picture_back() -> None:
    picture = np.full((6, 8, 3), (200, 40, 90), np.uint8)
    picture[2:4, 4:6] = (10, 220, 30)
    back = upright_picture(yuv_frame(picture), (6, 8))
    assert np.abs(back[::5, ::7].astype(int) - picture[::5, ::7]).max() <= 2
