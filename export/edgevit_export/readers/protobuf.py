"""A bounded look into a protobuf message by field numbers, to read Core ML without coremltools.

Importing coremltools takes 8 s and prints a page of warnings; a report needs some twenty fields.
Wire format: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator

from edgevit_export.readers.flatbuffer import MAX_TEXT, Data, decoded
from edgevit_export.readers.source import MalformedError

MAX_FIELDS = 5_000_000  # read from one file in all; a large transformer's program has some 500,000

Span = tuple[int, int]


class Budget:
    """How many fields of one file may still be read."""

    __slots__ = ("left",)

    def __init__(self, fields: int = MAX_FIELDS) -> None:
        self.left = fields

    def spend(self) -> None:
        """Count one field."""
        self.left -= 1
        if self.left < 0:
            raise MalformedError(f"it has more than {MAX_FIELDS:,} fields")


class Message:
    """A message between two positions of `data`; inner messages are read on demand."""

    __slots__ = ("_budget", "_data", "_fields")

    def __init__(self, data: Data, span: Span, budget: Budget) -> None:
        self._data = data
        self._budget = budget
        self._fields: dict[int, list[int | Span]] = {}
        for number, value in _fields(data, span, budget):
            self._fields.setdefault(number, []).append(value)

    def has(self, number: int) -> bool:
        """Whether the field is there."""
        return number in self._fields

    def spans(self, number: int) -> tuple[Span, ...]:
        """Start and end of each occurrence of a length-delimited field."""
        values = self._fields.get(number, [])
        spans = tuple(value for value in values if isinstance(value, tuple))
        if len(spans) != len(values):
            raise MalformedError("a field has the wrong type")
        return spans

    def messages(self, number: int) -> Iterator["Message"]:
        """The inner messages of a repeated field, in order."""
        return (Message(self._data, span, self._budget) for span in self.spans(number))

    def message(self, number: int) -> "Message | None":
        """The inner message of a single field; as protobuf has it, the last one counts."""
        spans = self.spans(number)
        return Message(self._data, spans[-1], self._budget) if spans else None

    def entries(self, number: int) -> Iterator[tuple[str, "Message"]]:
        """A map field with text keys and message values, in order."""
        for entry in self.messages(number):
            value = entry.message(2)
            if value is not None:
                yield entry.text(1), value

    def text(self, number: int) -> str:
        """A text field, or an empty string."""
        spans = self.spans(number)
        if not spans:
            return ""
        start, end = spans[-1]
        if end - start > MAX_TEXT:
            raise MalformedError("a name in it is longer than 64 KiB")
        return decoded(self._data[start:end])

    def integers(self, number: int) -> tuple[int, ...]:
        """A repeated signed 64-bit integer field, packed or not."""
        result: list[int] = []
        for value in self._fields.get(number, []):
            if isinstance(value, int):
                result.append(value)
                continue
            position, end = value
            while position < end:
                self._budget.spend()
                number_here, position = _varint(self._data, position, end)
                result.append(number_here)
        return tuple(v - (1 << 64) if v >= 1 << 63 else v for v in result)

    def integer(self, number: int) -> int:
        """An integer field, or 0."""
        values = self.integers(number)
        return values[-1] if values else 0


def _fields(data: Data, span: Span, budget: Budget) -> Iterator[tuple[int, int | Span]]:
    position, end = span
    while position < end:
        budget.spend()
        tag, position = _varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError("a field has no number")
        if wire == 0:
            value, position = _varint(data, position, end)
            yield number, value
            continue
        if wire == 2:
            size, position = _varint(data, position, end)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise MalformedError(f"a field has the unknown wire type {wire}")
        if position + size > end:
            raise MalformedError("a field is longer than what holds it")
        yield number, (position, position + size)
        position += size


def _varint(data: Data, position: int, end: int) -> tuple[int, int]:
    """The number at a position and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise MalformedError("it ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & ((1 << 64) - 1), position
    raise MalformedError("a number in it is longer than ten bytes")
