import pytest

from edgevit_export.readers.protobuf import Budget, Message
from edgevit_export.readers.source import MalformedError


def message(raw: bytes, fields: int = 100) -> Message:
    return Message(raw, (0, len(raw)), Budget(fields))


def test_reads_each_wire_type():
    raw = b"\x08\x96\x01" + b"\x12\x02hi" + b"\x1d\0\0\0\0" + b"\x21" + b"\0" * 8
    read = message(raw)
    assert read.integer(1) == 150
    assert read.text(2) == "hi"
    assert read.has(3)
    assert read.has(4)
    assert not read.has(5)
    assert read.integer(5) == 0
    assert read.message(5) is None


def test_repeated_integers_packed_or_not_and_negative():
    assert message(b"\x08\x01\x08\x02\x0a\x02\x03\x04").integers(1) == (1, 2, 3, 4)
    assert message(b"\x08" + b"\xff" * 9 + b"\x01").integers(1) == (-1,)


def test_inner_messages_and_maps():
    entry = b"\x0a\x01k\x12\x02\x08\x05"
    assert [(k, v.integer(1)) for k, v in message(b"\x0a\x07" + entry).entries(1)] == [("k", 5)]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x00\x01", "no number"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x05hi", "longer than what holds it"),
        (b"\x0d\0", "longer than what holds it"),
        (b"\x08" + b"\xff" * 10, "longer than ten bytes"),
        (b"\x08\x80", "in the middle of a number"),
    ],
)
def test_broken_bytes_are_refused(raw, reason):
    with pytest.raises(MalformedError, match=reason):
        message(raw)


def test_a_field_of_another_type_is_refused():
    with pytest.raises(MalformedError, match="wrong type"):
        message(b"\x08\x01").message(1)


def test_text_that_is_none_is_refused():
    with pytest.raises(MalformedError, match="not text"):
        message(b"\x0a\x01\xff").text(1)


def test_endless_fields_are_refused():
    with pytest.raises(MalformedError, match="more than"):
        message(b"\x08\x01" * 101)
    with pytest.raises(MalformedError, match="more than"):
        message(b"\x0a\x7f" + b"\x01" * 127).integers(1)
