"""A bounded look into a flatbuffer nobody vouches for: an offset is checked before it is followed.

The classes generated for the flatbuffers package follow any offset, negative ones included, and
loop over any length; files here come from strangers. Layout: flatbuffers.dev, "Internals".
"""

import mmap
import struct

from edgevit_export.readers.source import MalformedError

MAX_ELEMENTS = (
    2_000_000  # read from one file in all; a large transformer's program has some 100,000
)
MAX_TEXT = 1 << 16

Data = mmap.mmap | bytes
Number = int | float


class Window:
    """A flatbuffer of `size` bytes at `start` in a file, and how much of it may still be read."""

    __slots__ = ("data", "end", "left", "start")

    def __init__(self, data: Data, start: int, size: int) -> None:
        if size < 8 or start < 0 or start + size > len(data):
            raise MalformedError("a part of it lies outside of the file")
        self.data = data
        self.start = start
        self.end = start + size
        self.left = MAX_ELEMENTS

    def identifier(self) -> bytes:
        """The four bytes that name the schema."""
        return self.data[self.start + 4 : self.start + 8]

    def root(self) -> "Table":
        """The root table."""
        return Table(self, self.start + self.unsigned("I", self.start))

    def unpack(self, kind: str, position: int, count: int = 1) -> tuple[Number, ...]:
        """`count` little-endian numbers of a struct code at an absolute position."""
        layout = struct.Struct(f"<{count}{kind}")
        if position < self.start or position + layout.size > self.end:
            raise MalformedError("an offset points outside of it")
        return layout.unpack_from(self.data, position)

    def unsigned(self, kind: str, position: int) -> int:
        """One integer at an absolute position."""
        return int(self.unpack(kind, position)[0])

    def spend(self, elements: int) -> None:
        """Count what is read, so that a small file cannot ask for endless work."""
        self.left -= elements
        if self.left < 0:
            raise MalformedError(f"it asks for more than {MAX_ELEMENTS:,} elements to be read")


class Table:
    """One table. A slot is a field's place in the schema, from 0; a union has two: type, value."""

    __slots__ = ("_position", "_slots", "_vtable", "_window")

    def __init__(self, window: Window, position: int) -> None:
        window.spend(1)
        self._window = window
        self._position = position
        self._vtable = position - window.unsigned("i", position)
        size = window.unsigned("H", self._vtable)
        if size < 4 or size % 2 or self._vtable + size > window.end:
            raise MalformedError("a table's layout is broken")
        self._slots = (size - 4) // 2

    def _field(self, slot: int) -> int | None:
        if slot >= self._slots:
            return None
        offset = self._window.unsigned("H", self._vtable + 4 + 2 * slot)
        return self._position + offset if offset else None

    def _target(self, slot: int) -> int | None:
        place = self._field(slot)
        return None if place is None else place + self._window.unsigned("I", place)

    def _vector(self, slot: int, width: int) -> tuple[int, int]:
        """Position of the first element, and the count; (0, 0) where there is no vector."""
        place = self._target(slot)
        if place is None:
            return 0, 0
        count = self._window.unsigned("I", place)
        if place + 4 + count * width > self._window.end:
            raise MalformedError("a list is longer than the file")
        return place + 4, count

    def integer(self, slot: int, kind: str = "I", default: int = 0) -> int:
        """A scalar integer field."""
        place = self._field(slot)
        return default if place is None else self._window.unsigned(kind, place)

    def table(self, slot: int) -> "Table | None":
        """The table a field points to."""
        place = self._target(slot)
        return None if place is None else Table(self._window, place)

    def tables(self, slot: int) -> tuple["Table", ...]:
        """A vector of tables."""
        place, count = self._vector(slot, 4)
        window = self._window
        window.spend(count)
        places = range(place, place + 4 * count, 4)
        return tuple(Table(window, p + window.unsigned("I", p)) for p in places)

    def numbers(self, slot: int, kind: str) -> tuple[Number, ...]:
        """A vector of numbers of a struct code."""
        place, count = self._vector(slot, struct.calcsize(f"<{kind}"))
        self._window.spend(count)
        return self._window.unpack(kind, place, count) if count else ()

    def integers(self, slot: int, kind: str = "i") -> tuple[int, ...]:
        """A vector of integers."""
        return tuple(int(number) for number in self.numbers(slot, kind))

    def blob(self, slot: int) -> tuple[int, int]:
        """Absolute position and length of a byte vector, which is not read."""
        return self._vector(slot, 1)

    def text(self, slot: int) -> str:
        """A string field, or an empty string."""
        place, count = self._vector(slot, 1)
        if count > MAX_TEXT:
            raise MalformedError("a name in it is longer than 64 KiB")
        self._window.spend(1)
        return decoded(self._window.data[place : place + count])


def decoded(raw: bytes) -> str:
    """UTF-8 text; raises `MalformedError`."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedError("a name in it is not text") from None
