import struct

import pytest

from edgevit_export.readers.flatbuffer import MAX_ELEMENTS, Window
from edgevit_export.readers.source import MalformedError


def one_table(*fields: bytes) -> bytes:
    """A flatbuffer of one table with four-byte fields; what follows it may be pointed to."""
    count = len(fields)
    vtable = struct.pack(f"<HH{count}H", 4 + 2 * count, 4 + 4 * count, *range(4, 4 + 4 * count, 4))
    vtable = vtable.ljust((len(vtable) + 3) // 4 * 4, b"\0")
    table = struct.pack("<i", len(vtable)) + b"".join(fields)
    return struct.pack("<I4s", 8 + len(vtable), b"TEST") + vtable + table


def root(raw: bytes):
    return Window(raw, 0, len(raw)).root()


def test_scalars_and_what_is_not_there():
    table = root(one_table(struct.pack("<i", -7)))
    assert table.integer(0, "i") == -7
    assert table.integer(1, "i", 5) == 5
    assert table.table(1) is None
    assert table.tables(1) == ()
    assert table.text(1) == ""


def test_vectors_and_text():
    raw = one_table(struct.pack("<I", 4)) + struct.pack("<I4s", 4, b"name")
    assert root(raw).text(0) == "name"
    assert root(raw).integers(0, "B") == tuple(b"name")
    assert root(raw).blob(0) == (len(raw) - 4, 4)


def test_a_window_reads_in_the_middle_of_a_file_and_not_beyond():
    raw = one_table(struct.pack("<i", 3))
    assert Window(b"12345" + raw + b"x", 5, len(raw)).root().integer(0, "i") == 3
    with pytest.raises(MalformedError, match="outside of the file"):
        Window(raw, 1, len(raw))


@pytest.mark.parametrize("length", [0xFFFFFFFF, 5, 1 << 20])
def test_a_list_longer_than_the_file_is_refused(length):
    raw = one_table(struct.pack("<I", 4)) + struct.pack("<I4s", length, b"name")
    for read in (lambda t: t.text(0), lambda t: t.tables(0), lambda t: t.integers(0)):
        with pytest.raises(MalformedError, match="longer than the file"):
            read(root(raw))


@pytest.mark.parametrize("start", [0xFFFFFFF0, 1 << 20])
def test_an_offset_out_of_the_file_is_refused(start):
    with pytest.raises(MalformedError, match="outside of it"):
        root(struct.pack("<I4s", start, b"TEST") + b"\0" * 32)
    with pytest.raises(MalformedError, match="outside of it"):
        root(one_table(struct.pack("<I", start))).text(0)


def test_text_that_is_none_is_refused():
    raw = one_table(struct.pack("<I", 4)) + struct.pack("<I4s", 4, b"\xff\xff\xff\xff")
    with pytest.raises(MalformedError, match="not text"):
        root(raw).text(0)


def test_endless_work_is_refused():
    count = MAX_ELEMENTS
    raw = one_table(struct.pack("<I", 4)) + struct.pack("<I", count) + bytes(4 * count)
    with pytest.raises(MalformedError, match="elements to be read"):
        root(raw).tables(0)
