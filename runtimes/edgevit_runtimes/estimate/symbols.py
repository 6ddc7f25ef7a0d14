"""Names of code addresses: the library that was mapped there, and the symbol where it has one."""

import bisect
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOST_BYTES = 1 << 28
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
LOAD, SYMBOL_TABLES, FUNCTION = 1, (2, 11), 2  # PT_LOAD; SHT_SYMTAB and SHT_DYNSYM; STT_FUNC


@dataclass(frozen=True, slots=True)
class Mapped:
    """A part of a file in the memory of the program that was counted."""

    start: int
    end: int
    offset: int  # of the start in the file
    path: str


@dataclass(frozen=True, slots=True)
class Library:
    """The functions of one file: addresses as the file counts them, in order."""

    loads: tuple[tuple[int, int, int], ...]  # offset, bytes, address of each loaded segment
    starts: tuple[int, ...]
    names: tuple[tuple[str, int], ...]  # name and bytes of each

    def name_at(self, offset: int) -> str | None:
        """The function that holds a place of the file."""
        for start, size, address in self.loads:
            if start <= offset < start + size:
                wanted = offset - start + address
                place = bisect.bisect_right(self.starts, wanted) - 1
                if place >= 0:
                    name, length = self.names[place]
                    # Hand-written kernels have no size: they reach to the next symbol.
                    if not length or wanted < self.starts[place] + length:
                        return name
        return None


def read_library(path: Path) -> Library | None:
    """Functions of a 64-bit little-endian ELF file, from every symbol table it has.

    None for anything else, and for what lies about itself.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        data = path.read_bytes()
        return _parse(data)
    except (OSError, struct.error, IndexError, ValueError):
        return None


def _parse(data: bytes) -> Library | None:
    ident, _, _, _, _, at, sections_at, _, _, size, count, s_size, s_count, _ = HEADER.unpack_from(
        data
    )
    if ident[:6] != b"\x7fELF\x02\x01" or size != SEGMENT.size or s_size not in (0, SECTION.size):
        return None
    loads = []
    for i in range(count):
        kind, _, offset, address, _, length, _, _ = SEGMENT.unpack_from(data, at + i * size)
        if kind == LOAD:
            loads.append((offset, length, address))
    tables = [SECTION.unpack_from(data, sections_at + i * s_size) for i in range(s_count)]
    found: dict[int, tuple[str, int]] = {}
    for table in tables:
        if table[1] not in SYMBOL_TABLES or table[6] >= len(tables):
            continue
        texts = tables[table[6]]
        text = data[texts[4] : texts[4] + texts[5]]
        for place in range(table[4], table[4] + table[5] - SYMBOL.size + 1, SYMBOL.size):
            name_at, info, _, section, value, length = SYMBOL.unpack_from(data, place)
            if info & 15 == FUNCTION and section and value:
                name = text[name_at : text.index(b"\0", name_at)].decode("ascii", "replace")
                found.setdefault(value, (name, length))
    starts = tuple(sorted(found))
    return Library(tuple(loads), starts, tuple(found[start] for start in starts))


class Names:
    """What lies at an address, by the mappings of one run."""

    def __init__(self, mappings: Sequence[Mapped], files: Mapping[str, Path]) -> None:
        """files: where a mapped file lies here, by the name of its path's last part."""
        self._mappings = sorted(mappings, key=lambda m: m.start)
        self._starts = [mapping.start for mapping in self._mappings]
        self._files = files
        self._read: dict[str, Library | None] = {}

    def at(self, address: int) -> tuple[str | None, str | None]:
        """Library and function; None where it is not known."""
        place = bisect.bisect_right(self._starts, address) - 1
        if place < 0 or address >= self._mappings[place].end:
            return None, None
        mapping = self._mappings[place]
        library = PurePosixPath(mapping.path).name
        if library not in self._read:
            path = self._files.get(library)
            self._read[library] = None if path is None else read_library(path)
        functions = self._read[library]
        offset = address - mapping.start + mapping.offset
        return library, None if functions is None else functions.name_at(offset)
