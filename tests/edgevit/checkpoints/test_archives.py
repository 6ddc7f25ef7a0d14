"""Zip archives whose fields lie, one field at a time."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from edgevit.checkpoints.archives import Member, read_directory, read_member
from edgevit.checkpoints.bounds import Unreadable

RawZip = Callable[..., bytes]
TWO = {"a/x": b"first", "a/y": b"second"}


def read(data: bytes) -> dict[str, bytes]:
    stream = io.BytesIO(data)
    members = read_directory(stream, len(data))
    return {name: bytes(read_member(stream, member)) for name, member in members.items()}


def wide_field(*values: int, before: bytes = b"") -> bytes:
    """The zip64 extra field, behind another field."""
    body = struct.pack(f"<{len(values)}Q", *values)
    return before + struct.pack("<2H", 1, len(body)) + body


OTHER = struct.pack("<2H", 0x5455, 5) + bytes(5)  # an extended timestamp
FULL = 0xFFFFFFFF


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"comment": b"written by a test"},
        {"comment": b"c" * 65_535},
        {"wide": True},
        {"wide": True, "here": 65_535, "count": 65_535, "length": FULL, "start": FULL},
        {"extra": OTHER},
        {"flags": 0x0808},  # sizes behind the data, names in UTF-8: neither is encryption
        {"backwards": True},
    ],
    ids=str,
)
def test_archives_that_others_write(raw_zip: RawZip, fields: dict[str, object]) -> None:
    assert read(raw_zip(TWO, **fields)) == TWO


@pytest.mark.parametrize("before", [b"", OTHER])
def test_sizes_of_64_bits(raw_zip: RawZip, before: bytes) -> None:
    """The values stand in the order of the fields that they replace."""
    one = {"a/x": b"first"}
    assert read(raw_zip(one, size=FULL, stored=FULL, extra=wide_field(5, 5, before=before))) == one
    data = raw_zip(one, method=8, size=FULL, extra=wide_field(7, before=before))
    member = read_directory(io.BytesIO(data), len(data))["a/x"]
    assert (member.size, member.stored) == (7, 5)
    data = raw_zip(one, method=8, size=FULL, stored=FULL, extra=wide_field(9, 5, before=before))
    member = read_directory(io.BytesIO(data), len(data))["a/x"]
    assert (member.size, member.stored) == (9, 5)


def test_sizes_of_64_bits_that_are_missing(raw_zip: RawZip) -> None:
    for extra in (b"", OTHER, wide_field(5)[:-1], wide_field(5), b"\1\0"):
        with pytest.raises(Unreadable, match="zip directory is missing or wrong"):
            read(raw_zip({"a/x": b"first"}, size=FULL, stored=FULL, extra=extra))


def test_a_place_of_64_bits_that_is_missing(raw_zip: RawZip) -> None:
    """Two values for three fields: the third is no 0, where a member would lie."""
    one, fields = {"a/x": b"first"}, {"size": FULL, "stored": FULL, "header": FULL}
    assert read(raw_zip(one, **fields, extra=wide_field(5, 5, 0))) == one
    with pytest.raises(Unreadable, match="zip directory is missing or wrong"):
        read(raw_zip(one, **fields, extra=wide_field(5, 5)))


def test_an_empty_archive_directories_and_no_name(raw_zip: RawZip) -> None:
    assert read(raw_zip({})) == {}
    assert read(raw_zip({"a/": b"", "a/x": b"1"})) == {"a/x": b"1"}
    assert read(raw_zip({"": b"1"})) == {"": b"1"}


LIES: dict[str, dict[str, object]] = {
    "a second disk": {"disk": 1},
    "a directory on another disk": {"first": 1},
    "fewer entries here": {"here": 1},
    "one entry more": {"here": 3, "count": 3},
    "one entry less": {"here": 1, "count": 1},
    "a directory one byte longer": {"length": 107},
    "a directory one byte later": {"start": 76},
    "stored bytes of another number": {"size": 4},
    "a stored byte more than lies there": {"size": 6, "stored": 6},
    "an entry on another disk": {"on_disk": 1},
    "a record that reaches into its locator": {"wide": True, "record": 77 + 98 + 1},
    "a record behind its locator": {"wide": True, "record": 77 + 98 + 56 + 30},
    "a record behind the file": {"wide": True, "record": 1 << 60},
    "a record that is none": {"wide": True, "record": 77},
}


@pytest.mark.parametrize("name", LIES)
def test_a_directory_that_lies(raw_zip: RawZip, name: str) -> None:
    whole = raw_zip(TWO)
    assert (whole.index(b"PK\1\2"), len(whole)) == (77, 77 + 98 + 22)
    with pytest.raises(Unreadable, match="zip directory is missing or wrong"):
        read(raw_zip(TWO, **LIES[name]))


@pytest.mark.parametrize(
    "place",
    [
        80,  # the last byte of the first entry's magic
        129,  # of the second's
        77 + 98 + 3,  # of the record's
        129 - 3 + 28,  # the length of the second entry's name
    ],
)
def test_a_directory_with_one_byte_changed(raw_zip: RawZip, place: int) -> None:
    whole = raw_zip(TWO, wide=True)
    with pytest.raises(Unreadable, match="zip directory is missing or wrong"):
        read(changed(whole, place, bytes([whole[place] + 1])))


@pytest.mark.parametrize("wide", [False, True])
def test_bytes_that_belong_to_nothing(raw_zip: RawZip, wide: bool) -> None:
    whole = raw_zip(TWO, wide=wide)
    directory_end = whole.index(b"PK\6\6" if wide else b"PK\5\6")
    for place in (directory_end, len(whole) - 22, len(whole)):
        with pytest.raises(Unreadable, match="zip directory"):
            read(whole[:place] + b"\0" + whole[place:])


def test_members_fill_their_room_and_no_more(raw_zip: RawZip) -> None:
    """A member may end where the next one starts, and the last where the directory does."""
    whole = raw_zip(TWO)
    stream = io.BytesIO(whole)
    first, second = read_directory(stream, len(whole)).values()
    assert (first.header, first.end, second.end) == (0, second.header, whole.index(b"PK\1\2"))
    assert first == Member("a/x", 0, 0, 5, 5, 0, 38)
    for member in (first, second):
        longer = replace(member, stored=member.stored + 1, size=member.size + 1)
        with pytest.raises(Unreadable, match="is not what it states"):
            read_member(stream, longer)


def test_an_archive_that_became_shorter(raw_zip: RawZip) -> None:
    """Between its directory and its members."""
    whole = raw_zip(TWO)
    stream = io.BytesIO(whole)
    first, second = read_directory(stream, len(whole)).values()
    for left in (second.end - 1, second.header + 31, second.header + 29):
        stream.truncate(left)
        with pytest.raises(Unreadable, match="a/y is not what it states"):
            read_member(stream, second)
    assert read_member(stream, first) == b"first"


def changed(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize(
    ("place", "new"),
    [
        (3, b"\5"),  # the header's magic
        (26, b"\4"),  # a longer name
        (28, b"\1"),  # a longer extra field
        (30, b"b"),  # another name
    ],
)
def test_a_local_header_that_lies(raw_zip: RawZip, place: int, new: bytes) -> None:
    with pytest.raises(Unreadable, match=r"its part a/x is not what it states"):
        read(changed(raw_zip(TWO), place, new))


def deflated(data: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(data) + engine.flush()


def test_checksums_and_sizes_of_packed_members(raw_zip: RawZip) -> None:
    data = b"edgevit" * 9
    packed = {"a/x": deflated(data)}
    fields = {"method": 8, "size": len(data), "crc": zlib.crc32(data)}
    assert read(raw_zip(packed, **fields)) == {"a/x": data}
    assert read(raw_zip(packed, **{**fields, "crc": 0})) == {"a/x": data}
    for lie in (
        {"size": len(data) - 1},
        {"size": len(data) + 1},
        {"crc": zlib.crc32(data) ^ 1},
    ):
        with pytest.raises(Unreadable, match="is not what it states"):
            read(raw_zip(packed, **{**fields, **lie}))
    with pytest.raises(Unreadable, match="is not what it states"):
        read(raw_zip({"a/x": b"\xff" * 20}, **fields))


@pytest.mark.parametrize("fields", [{"method": 12}, {"flags": 1}, {"method": 9}])
def test_packed_in_another_way(raw_zip: RawZip, fields: dict[str, int]) -> None:
    with pytest.raises(Unreadable, match="encrypted or packed in a way"):
        read(raw_zip(TWO, **fields))
