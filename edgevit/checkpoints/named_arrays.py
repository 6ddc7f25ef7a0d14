"""Reads the two formats that hold named arrays and nothing else: .npz and .safetensors."""

import io
import math
import tokenize
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgevit.checkpoints.archives import Member, read_member
from edgevit.checkpoints.bounds import (
    HEADER_BYTES,
    NAME_BYTES,
    TENSORS,
    Unreadable,
    shown,
)
from edgevit.checkpoints.values import ITEM_BYTES, NUMBER_BYTES, shape_of

if TYPE_CHECKING:
    import torch

# How np.save writes bfloat16 (google-research/vision_transformer, vit_jax/checkpoint.py).
BFLOAT16 = "|V2"
READ = (*ITEM_BYTES, "uint16", "uint32", "uint64")
NPY_HEADER = 10_000  # characters of one array's header, numpy's own bound


def read_npz(stream: BinaryIO, members: Mapping[str, Member]) -> dict[str, "torch.Tensor"]:
    """The arrays of an .npz file by name; raises `Unreadable`, also on arrays of Python objects."""
    if len(members) > TENSORS:
        raise Unreadable(f"holds {len(members)} arrays, more than edgevit reads")
    return {
        name.removesuffix(".npy"): _array(name, read_member(stream, member))
        for name, member in members.items()
    }


def _array(name: str, data: bytearray) -> "torch.Tensor":
    import torch

    header = io.BytesIO(bytes(data[: NPY_HEADER + 16]))
    try:
        with warnings.catch_warnings():
            # numpy and ast warn of odd headers, such as Python 2's; what they yield is checked
            warnings.simplefilter("ignore")
            dtype, shape, fortran = _npy_header(header)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
        raise Unreadable(f"is damaged: {shown(name)} is no array; download it again") from None
    if dtype.hasobject:
        raise Unreadable(
            f"holds Python objects in {shown(name)}, which only running a pickle could rebuild"
        )
    bfloat16 = dtype.str == BFLOAT16
    if not bfloat16 and dtype.str.lstrip("<|") not in NUMBER_BYTES:
        raise Unreadable(f"holds {shown(name)} as {shown(dtype)}, which edgevit does not read")
    sizes, start = shape_of(shape), header.tell()
    if math.prod(sizes) * dtype.itemsize != len(data) - start:
        raise Unreadable(f"is damaged: {shown(name)} does not fill its shape; download it again")
    kind = np.dtype("<i2") if bfloat16 else dtype
    array = np.ndarray(sizes, kind, buffer=data, offset=start, order="F" if fortran else "C")
    tensor = torch.from_numpy(np.array(array, order="C", copy=True))
    return tensor.view(torch.bfloat16) if bfloat16 else tensor


def _npy_header(header: BinaryIO) -> tuple[np.dtype[np.generic], object, bool]:
    """Dtype, shape and Fortran order that an array states; leaves the stream behind the header."""
    npy: Any = np.lib.format  # numpy's own types leave these functions untyped
    version = npy.read_magic(header)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(header)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(header)
    else:
        raise ValueError(
            "structures with names outside latin-1, the only use of version 3, are no weights"
        )
    return dtype, shape, bool(fortran)


def read_safetensors(path: Path, size: int) -> tuple[dict[str, "torch.Tensor"], dict[str, object]]:
    """The tensors of a .safetensors file, and its metadata (text by name). Raises `Unreadable`.

    size: of the file in bytes. The library checks that the header's offsets cover the file without
    gap or overlap.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if length > min(HEADER_BYTES, size - 8):
        raise Unreadable(
            "is truncated or damaged: its header is longer than the file; download it again"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = list(file.keys())
            if len(names) > TENSORS or any(len(name) > NAME_BYTES for name in names):
                raise Unreadable(f"holds {len(names)} tensors, more than edgevit reads")
            tensors = {name: file.get_tensor(name).clone() for name in names}
            meta: dict[str, object] = dict(file.metadata() or {})
    except (SafetensorError, ValueError, RuntimeError, TypeError, KeyError, AttributeError):
        # the library maps types that this torch lacks to names it then does not find
        raise Unreadable(
            "is truncated or damaged: its header does not match the file; download it again"
        ) from None
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in READ:
            raise Unreadable(f"holds {shown(name)} as {dtype}, which edgevit does not read")
    return tensors, meta
