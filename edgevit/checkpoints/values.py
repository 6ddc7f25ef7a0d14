"""What the objects of a pickle become here: inert values that hold no code."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from edgevit.checkpoints.bounds import DIMENSION, RANK, Unreadable, shown

# torch dtype -> bytes an element; the storage classes of torch name these
ITEM_BYTES: Mapping[str, int] = MappingProxyType(
    {
        "float64": 8,
        "float32": 4,
        "float16": 2,
        "bfloat16": 2,
        "int64": 8,
        "int32": 4,
        "int16": 2,
        "int8": 1,
        "uint8": 1,
        "bool": 1,
        "complex64": 8,
        "complex128": 16,
    }
)

# numpy type codes of numbers -> bytes an element
NUMBER_BYTES: Mapping[str, int] = MappingProxyType(
    {
        **{"b1": 1, "i1": 1, "i2": 2, "i4": 4, "i8": 8, "u1": 1, "u2": 2, "u4": 4, "u8": 8},
        **{"f2": 2, "f4": 4, "f8": 8, "c8": 8, "c16": 16},
    }
)
TEXT_CODE = re.compile(r"[SU](\d{1,5})")


# Values compare by identity alone: comparing what a file built could recurse without end.
@dataclass(frozen=True, slots=True, eq=False)
class Marker:
    """A name that stands for itself: a storage class or dtype of torch, a defaultdict's factory."""

    name: str
    dtype: str | None = None  # of a storage class


@dataclass(frozen=True, slots=True, eq=False)
class LazyStorage:
    """A run of elements in the file, not read yet: `numel` from `start` of a storage's `total`."""

    key: str
    dtype: str
    start: int
    numel: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class LazyTensor:
    """A strided view of a storage, not read yet, proven to lie inside it."""

    storage: LazyStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(slots=True, eq=False)
class ArrayType:
    """A numpy dtype: a code of `NUMBER_BYTES`, or text (`S5`, `U7`)."""

    code: str

    @property
    def item_bytes(self) -> int:
        """Bytes an element."""
        if self.code in NUMBER_BYTES:
            return NUMBER_BYTES[self.code]
        return int(self.code[1:]) * (4 if self.code[0] == "U" else 1)


@dataclass(slots=True, eq=False)
class PickledArray:
    """A numpy array or scalar, its bytes from inside the pickle; `type` is None until they came."""

    type: ArrayType | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    data: bytes | bytearray = b""

    @property
    def is_number(self) -> bool:
        """Whether it can become a tensor."""
        return self.type is not None and self.type.code in NUMBER_BYTES

    def array(self) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """A numpy view of the bytes, in the order they were stored."""
        if self.type is None:
            raise Unreadable("holds a numpy array without contents")
        order: Literal["F", "C"] = "F" if self.fortran else "C"
        kind = np.dtype(f"<{self.type.code}")
        return np.ndarray(self.shape, kind, buffer=self.data, order=order)


@dataclass(slots=True, eq=False)
class Inert:
    """An object kept as its class's name and its attributes, such as an argparse.Namespace."""

    name: str
    fields: dict[str, object] = field(default_factory=dict)


Leaf = LazyTensor | PickledArray


def is_leaf(value: object) -> bool:
    """Whether a value can become a tensor."""
    return isinstance(value, LazyTensor) or (isinstance(value, PickledArray) and value.is_number)


def dimensions(value: object, what: str) -> tuple[int, ...]:
    """A tuple of non-negative sizes, strides or the like; raises `Unreadable` on anything else."""
    if not isinstance(value, tuple) or len(value) > RANK:
        raise Unreadable(f"holds a tensor with a broken {what}")
    for size in value:
        if type(size) is not int or not 0 <= size <= DIMENSION:
            raise Unreadable(f"holds a tensor with an impossible {what}")
    return value


def shape_of(value: object) -> tuple[int, ...]:
    """A tensor's shape, whose non-zero sizes multiply to a possible number; raises `Unreadable`."""
    sizes = dimensions(value, "shape")
    if math.prod(size or 1 for size in sizes) > DIMENSION:
        raise Unreadable("holds a tensor with an impossible shape")
    return sizes


def lazy_tensor(storage: object, offset: object, size: object, stride: object) -> LazyTensor:
    """A view by `size` and `stride` from `offset`; raises `Unreadable` outside the storage."""
    if not isinstance(storage, LazyStorage):
        raise Unreadable("holds a tensor without a storage")
    (start,) = dimensions((offset,), "offset")
    shape, steps = shape_of(size), dimensions(stride, "stride")
    if len(shape) != len(steps):
        raise Unreadable("holds a tensor whose shape and strides disagree")
    numel = math.prod(shape)
    last = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if numel and (last >= storage.numel or numel > storage.numel):
        raise Unreadable(f"holds a tensor of shape {shape} that reaches outside its storage")
    return LazyTensor(storage, start, shape, steps)


def array_type(code: object) -> ArrayType:
    """The dtype of a numpy code such as `f4`; raises `Unreadable` on all but numbers and text."""
    if isinstance(code, str):
        bare = code.lstrip("<|=")
        if bare in NUMBER_BYTES or TEXT_CODE.fullmatch(bare):
            return ArrayType(bare)
        if bare.startswith("O"):
            raise Unreadable("holds a numpy array of Python objects, which edgevit does not build")
    raise Unreadable(f"holds a numpy array of type {shown(code)!r}, which edgevit does not read")


def fill_array(
    array: PickledArray, kind: object, shape: object, fortran: object, data: object
) -> PickledArray:
    """Give an array its contents; raises `Unreadable` where the bytes do not fill the shape."""
    if not isinstance(kind, ArrayType):
        raise Unreadable("holds a numpy array without a type")
    sizes = shape_of(shape)
    if isinstance(data, str):  # a pickle of Python 2 keeps bytes as text
        data = latin1(data)
    if not isinstance(data, bytes | bytearray):
        raise Unreadable("holds a numpy array of Python objects, which edgevit does not build")
    if len(data) != math.prod(sizes) * kind.item_bytes:
        raise Unreadable(f"holds a numpy array of shape {sizes} with {len(data)} bytes")
    array.type, array.shape, array.fortran, array.data = kind, sizes, bool(fortran), data
    return array


def latin1(text: str) -> bytes:
    """The bytes that protocol 2 wrote as text."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise Unreadable("holds bytes written as text that is not latin-1") from None
