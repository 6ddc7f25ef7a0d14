"""The C core (runtimes/native/core) on numpy arrays; numpy computes the same without it."""

import functools
from ctypes import Structure, byref, c_double, c_int32, c_size_t, c_void_p
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.frame import Frame, Rotation
from edgevit.tasks.pixels.library import found, load
from edgevit.tasks.pixels.mask import Labels, exact_mask
from edgevit.tasks.pixels.resize import FloatArray, Picture, Size

ALIGNMENT = 16

LAYOUTS = {"NCHW": 0, "NHWC": 1}
TYPES = {"float32": 0, "float16": 1, "uint8": 2, "int8": 3}
COLORS = {"rgb": 0, "yuv": 1}


@dataclass(frozen=True, slots=True)
class InputForm:
    """How the core writes a network's input; the fields of `edgevit_input`.

    resized: (height, width) of the upright frame; corner: (top, left) of the part that is shown.
    """

    size: Size
    resized: Size
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    corner: tuple[int, int] = (0, 0)
    rotation: Rotation = 0
    mirror: bool = False
    layout: str = "NCHW"
    dtype: str = "float32"
    scale: float = 1.0
    zero_point: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that is written."""
        return (1, *self.size, 3) if self.layout == "NHWC" else (1, 3, *self.size)


class _Plane(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("size", c_size_t),
        ("row_stride", c_int32),
        ("pixel_stride", c_int32),
    ]


class _Frame(Structure):
    _fields_ = [
        ("colors", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("planes", _Plane * 3),
    ]


class _Input(Structure):
    _fields_ = [
        *((name, c_int32) for name in ("width", "height", "resized_width", "resized_height")),
        *((name, c_int32) for name in ("left", "top", "rotation", "mirror", "layout", "type")),
        ("mean", c_double * 3),
        ("std", c_double * 3),
        ("scale", c_double),
        ("zero_point", c_int32),
    ]


class _Logits(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("count", c_size_t),
        ("classes", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("layout", c_int32),
    ]


class Core:
    """The loaded library. Arguments are checked in C; its errors are raised as `UsageError`."""

    def __init__(self, path: Path) -> None:
        """Load the library; raises `EnvironmentFailed` as `library.load` does."""
        self._library = load(path)

    def mask(self, logits: FloatArray, size: Size, layout: str = "NCHW") -> Labels:
        """The exact mask [H, W] of float32 logits, equal to `mask.exact_mask`.

        logits: [C, h, w], with layout "NHWC" [h, w, C]. size: (H, W).
        """
        logits = np.ascontiguousarray(logits, np.float32)
        shape = logits.shape
        classes, height, width = shape if layout == "NCHW" else (shape[2], *shape[:2])
        described = _Logits(
            logits.ctypes.data, logits.size, classes, height, width, LAYOUTS[layout]
        )
        needed, mask_bytes = c_size_t(), c_size_t()
        rows, columns = c_int32(size[0]), c_int32(size[1])
        self._require(
            self._library.edgevit_mask_memory(
                byref(described), columns, rows, byref(needed), byref(mask_bytes)
            )
        )
        mask = np.empty(size, np.uint8 if mask_bytes.value == size[0] * size[1] else np.uint16)
        memory = _aligned(needed.value)
        self._require(
            self._library.edgevit_mask(
                byref(described),
                columns,
                rows,
                c_void_p(mask.ctypes.data),
                mask_bytes,
                c_void_p(memory.ctypes.data),
                needed,
            )
        )
        return mask

    def network_input(self, frame: Frame, form: InputForm) -> NDArray[np.generic]:
        """The network's input from a frame, of `form.shape` and `form.dtype`."""
        given, described = _described_frame(frame), _described_input(form)
        needed, plan = c_size_t(), c_void_p()
        self._require(
            self._library.edgevit_plan_memory(byref(described), byref(given), byref(needed))
        )
        memory = _aligned(needed.value)
        self._require(
            self._library.edgevit_plan_input(
                byref(described),
                byref(given),
                c_void_p(memory.ctypes.data),
                needed,
                byref(plan),
            )
        )
        result = np.empty(form.shape, form.dtype)
        self._require(
            self._library.edgevit_fill_input(
                plan, byref(given), c_void_p(result.ctypes.data), c_size_t(result.nbytes)
            )
        )
        return result

    def tint(
        self,
        mask: Labels,
        palette: NDArray[np.uint8],
        picture: Picture | None = None,
    ) -> Picture:
        """A mask in colors, alone or over a picture; see `edgevit.tasks.pixels.tint`."""
        mask, palette = np.ascontiguousarray(mask), np.ascontiguousarray(palette, np.uint8)
        result = np.empty((*mask.shape, 4), np.uint8)
        below = None if picture is None else np.ascontiguousarray(picture, np.uint8)
        self._require(
            self._library.edgevit_overlay(
                c_void_p(mask.ctypes.data),
                c_size_t(mask.nbytes),
                c_int32(mask.itemsize),
                c_int32(mask.shape[1]),
                c_int32(mask.shape[0]),
                c_void_p(palette.ctypes.data),
                c_int32(len(palette)),
                c_void_p(None if below is None else below.ctypes.data),
                c_size_t(0 if below is None else below.nbytes),
                c_void_p(result.ctypes.data),
                c_size_t(result.nbytes),
            )
        )
        return result

    def _require(self, status: int) -> None:
        if status:
            text = self._library.edgevit_status_text(c_int32(status)).decode()
            raise UsageError(f"The native core refuses this: {text}")


@functools.cache
def core() -> Core | None:
    """The core where it is built (`library.found`); raises `EnvironmentFailed` as `load` does."""
    path = found()
    return None if path is None else Core(path)


def fast_mask(logits: FloatArray, size: Size) -> Labels:
    """`mask.exact_mask`, by the native core where it is built; the labels are the same."""
    library = core()
    if library is None or logits.dtype != np.float32 or logits.ndim != 3 or not logits.size:
        return exact_mask(logits, size)
    return library.mask(logits, size)


def _aligned(size: int) -> NDArray[np.uint8]:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size]


def _described_frame(frame: Frame) -> _Frame:
    height, width = frame.size
    planes = (_Plane * 3)()
    for place, plane in enumerate(frame.planes):
        rows, columns = plane.strides
        if (rows < 1 and plane.shape[0] > 1) or (columns < 1 and plane.shape[1] > 1):
            raise UsageError("The native core takes frames whose rows and pixels go forward.")
        size = (plane.shape[0] - 1) * rows + (plane.shape[1] - 1) * columns + 1
        planes[place] = _Plane(plane.ctypes.data, size, max(rows, 1), max(columns, 1))
    return _Frame(COLORS[frame.colors], width, height, planes)


def _described_input(form: InputForm) -> _Input:
    return _Input(
        form.size[1],
        form.size[0],
        form.resized[1],
        form.resized[0],
        form.corner[1],
        form.corner[0],
        form.rotation,
        int(form.mirror),
        LAYOUTS[form.layout],
        TYPES[form.dtype],
        (c_double * 3)(*form.mean),
        (c_double * 3)(*form.std),
        form.scale,
        form.zero_point,
    )
