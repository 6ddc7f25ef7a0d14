"""The most that is read, and one more: every limit at its last value and behind it."""

import io
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from edgevit.checkpoints import named_arrays, read_checkpoint
from edgevit.checkpoints.archives import Member, read_directory
from edgevit.checkpoints.bounds import PICKLE_BYTES, Unreadable, listed, shown
from edgevit.checkpoints.containers import Choice, choose, collect_meta
from edgevit.checkpoints.pickles import read_pickle
from edgevit.checkpoints.tensors import materialize
from edgevit.checkpoints.values import ArrayType, PickledArray, dimensions, shape_of
from edgevit.errors import CheckpointError

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def refused(why: str) -> AbstractContextManager[object]:
    return pytest.raises(Unreadable, match=why)


def unpickled(body: bytes) -> object:
    program = b"\x80\x02" + body + b"."
    return read_pickle(io.BytesIO(program), len(program), PICKLE_BYTES)


def numbers(count: int) -> PickledArray:
    return PickledArray(ArrayType("u1"), (count,), data=bytes(count))


def test_opcodes_and_the_elements_that_they_copy() -> None:
    """Four opcodes, not counting the stop, and each item once as an opcode, once as an element."""
    half = MIB - 2
    assert unpickled(b"](" + b"N" * half + b"e") == [None] * half
    with refused("more objects than edgevit reads"):
        unpickled(b"](" + b"N" * (half + 1) + b"e")


def test_integers() -> None:
    most = b"\xff" * 63 + b"\x7f"
    assert unpickled(b"\x8a\x40" + most) == (1 << 511) - 1
    assert unpickled(b"\x8b\x40\0\0\0" + most) == (1 << 511) - 1
    with refused("integer larger"):
        unpickled(b"\x8a\x41" + most + b"\0")


def test_names() -> None:
    module = "m" * 1023
    with refused("^names mmm"):
        unpickled(f"c{module}\nx\n".encode())
    with refused("not well formed"):
        unpickled(f"c{module}m\nx\n".encode())
    tensors = {"n" * 1024: numbers(1)}
    assert choose(tensors, ()).leaves == tensors
    with refused("not a parameter name"):
        choose({"n" * 1025: numbers(1)}, ())


def test_what_is_kept_of_refused_names() -> None:
    """A long name is cut where it is shown; of 40 names 32 are kept, and 5 of them shown."""
    long = b"X" + struct.pack("<I", MIB) + b"a" * MIB
    with refused(r"^names a{77}\.\.\., which"):
        unpickled(long + b"X\1\0\0\0x\x93")
    every = b"".join(f"cos\nf{i}\n0".encode() for i in range(40))
    with refused("and 27 more, which"):
        unpickled(every + b"N")


def test_plain_pickles(tmp_path: Path) -> None:
    """Of a file with holes: what a pickle asks for is compared before anything is read."""
    path = tmp_path / "x.pkl"
    opening = b"\x80\x02\x8e"
    left = 4 * GIB - len(opening) - 8
    path.write_bytes(opening + struct.pack("<Q", left + 1))
    with path.open("r+b") as stream:
        stream.truncate(5 * GIB)
    with pytest.raises(CheckpointError, match="larger pickle than edgevit reads"):
        read_checkpoint(path)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for size, why in ((8 * GIB, "no checkpoint of a kind"), (8 * GIB + 1, "than the 8 GiB that")):
        with path.open("wb") as stream:
            stream.truncate(size)
        with pytest.raises(CheckpointError, match=why):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("count", "length", "why"),
    [
        (200_000, 100, "is truncated or damaged"),  # 100 bytes hold no such number
        (200_001, 100, "with 200001 members, more"),
        (1, 64 * MIB, "is truncated or damaged"),
        (1, 64 * MIB + 1, "with 1 members, more"),
    ],
)
def test_zip_directories(count: int, length: int, why: str) -> None:
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, length, 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    data = bytes(length) + record + locator + end
    with refused(why):
        read_directory(io.BytesIO(data), len(data))


def test_what_an_archive_may_unpack_to(raw_zip: Callable[..., bytes]) -> None:
    size = len(raw_zip({"a.npy": b"x"}, method=8))
    for unpacked, fine in ((64 * size + MIB, True), (64 * size + MIB + 1, False)):
        data = raw_zip({"a.npy": b"x"}, method=8, size=unpacked)
        assert len(data) == size
        with nullcontext() if fine else refused("unpacks to far more"):
            read_directory(io.BytesIO(data), size)


def test_what_tensors_may_take() -> None:
    for count, fine in ((4 * 10 + MIB, True), (4 * 10 + MIB + 1, False)):
        with nullcontext() if fine else refused("far larger than itself"):
            materialize({"w": numbers(count)}, bytearray, 10)


def test_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    many = dict.fromkeys(map(str, range(100_000)), numbers(1))
    assert len(choose(many, ()).leaves) == 100_000
    with refused("holds 100001 tensors, more"):
        choose({**many, "one more": numbers(1)}, ())
    member = Member("", 0, 0, 0, 0, 0)
    monkeypatch.setattr(named_arrays, "read_member", lambda *_: None)
    monkeypatch.setattr(named_arrays, "_array", lambda *_: None)
    members = dict.fromkeys(many, member)
    assert len(named_arrays.read_npz(io.BytesIO(), members)) == 100_000
    with refused("holds 100001 arrays, more"):
        named_arrays.read_npz(io.BytesIO(), {**members, "one more": member})


def test_shapes() -> None:
    assert dimensions((1,) * 16, "stride") == (1,) * 16
    with refused("broken stride"):
        dimensions((1,) * 17, "stride")
    assert dimensions((1 << 40, 0), "stride") == (1 << 40, 0)
    with refused("impossible stride"):
        dimensions(((1 << 40) + 1,), "stride")
    assert shape_of((1 << 20, 0, 1 << 20)) == (1 << 20, 0, 1 << 20)
    with refused("impossible shape"):
        shape_of((1 << 20, 0, (1 << 20) + 1))


def test_safetensors_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    most = 16 * MIB
    path.write_bytes(most.to_bytes(8, "little") + header.ljust(most) + bytes(4))
    assert torch.equal(read_checkpoint(path).tensors["w"], torch.zeros(1))
    path.write_bytes((most + 1).to_bytes(8, "little") + header.ljust(most + 1) + bytes(4))
    with pytest.raises(CheckpointError, match="header is longer"):
        read_checkpoint(path)


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else [1]


@pytest.mark.parametrize(
    ("most", "more"),
    [
        (["x"] * 19_999, ["x"] * 20_000),  # and the list itself
        (nested(7), nested(8)),
        (["x" * MIB] * 4, ["x" * MIB] * 4 + ["x"]),
        (numbers(19_998), numbers(19_999)),  # and the list, and the array
        (PickledArray(ArrayType("f8"), (2_500,), data=bytes(20_000)),
         PickledArray(ArrayType("f8"), (2_501,), data=bytes(20_008))),
    ],
    ids=["values", "depth", "text", "array", "bytes of an array"],
)  # fmt: skip
def test_meta(most: object, more: object) -> None:
    found = collect_meta({"most": most, "more": more, "epoch": 1}, Choice((), {}))
    assert list(found) == ["most", "epoch"]


def test_meta_entries() -> None:
    found = collect_meta({str(number): number for number in range(257)}, Choice((), {}))
    assert list(found.values()) == list(range(256))


def test_what_is_shown_of_a_text() -> None:
    assert shown("a\x1b[2J\nb") == "a?[2J?b"
    assert shown("x" * 80) == "x" * 80
    assert shown("x" * 81) == "x" * 77 + "..."
    assert shown(b"abc", 4) == "b..."


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (list("abcde"), "a, b, c, d and e"),
        (list("abcdef"), "a, b, c, d, e and 1 more"),
        (["n" * 81], "n" * 77 + "..."),
        (["n" * 80], "n" * 80),
    ],
)
def test_what_is_listed_of_names(names: list[str], text: str) -> None:
    assert listed(names) == text
