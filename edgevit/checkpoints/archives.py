"""Reads the zip archives that torch and numpy write, trusting none of the sizes that they state.

Source: APPNOTE.TXT 6.3.10 (PKWARE), sections 4.3.7 to 4.3.16 and 4.5.3. Only what those two writers
use is read: one disk, no encryption, members stored or deflated, nothing before the first member.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from edgevit.checkpoints.bounds import (
    ARCHIVE_MEMBERS,
    DIRECTORY_BYTES,
    EXPANSION,
    MIB,
    Unreadable,
    shown,
)

CUT = "is truncated or damaged: its zip directory is missing or wrong; download it again"
END = struct.Struct("<4s4H2IH")
LOCATOR = struct.Struct("<4sIQI")
END_64 = struct.Struct("<4sQ2H2I4Q")
ENTRY = struct.Struct("<4s6H3I5H2I")
LOCAL = struct.Struct("<4s5H3I2H")
STORED, DEFLATED = 0, 8
ENCRYPTED = 1
FULL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive; its bytes lie between its local header at `header` and `end`."""

    name: str
    method: int
    crc: int  # 0: not computed (torch.serialization.set_crc32_options)
    stored: int  # bytes in the archive
    size: int  # bytes when unpacked
    header: int
    end: int = 0


def read_directory(stream: BinaryIO, size: int) -> dict[str, Member]:
    """Name -> member, in the order they lie in the file; raises `Unreadable`.

    Proven here: members do not overlap, all lie before the directory, and together they unpack to
    at most `EXPANSION` times the file's size.
    """
    start, length, count = _locate(stream, size)
    if count > ARCHIVE_MEMBERS or length > DIRECTORY_BYTES:
        raise Unreadable(f"is a zip archive with {count} members, more than edgevit reads")
    stream.seek(start)
    data = stream.read(length)
    members, position = [], 0
    for _ in range(count):
        member, position = _entry(data, position)
        members.append(member)
    if position != len(data):
        raise Unreadable(CUT)
    members.sort(key=lambda member: member.header)
    ends = [*(member.header for member in members), start][1:]
    found: dict[str, Member] = {}
    for member, end in zip(members, ends, strict=True):
        if member.header + LOCAL.size + len(member.name) + member.stored > end:
            raise Unreadable(CUT)
        if member.name in found:
            raise Unreadable(f"is a zip archive that holds {shown(member.name)} twice")
        if not member.name.endswith("/"):
            found[member.name] = replace(member, end=end)
    if sum(member.size for member in found.values()) > EXPANSION * size + MIB:
        raise Unreadable("is a zip archive that unpacks to far more than its size")
    return found


def _locate(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Where the directory starts, its bytes and its number of entries."""
    tail_size = min(size, END.size + 0xFFFF)
    stream.seek(size - tail_size)
    tail = stream.read(tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + END.size > len(tail):
        raise Unreadable(CUT)
    end = size - tail_size + at
    _, disk, first, here, count, length, start, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail) or disk or first or here != count:
        raise Unreadable(CUT)
    locator = end - LOCATOR.size
    if locator >= 0:
        stream.seek(locator)
        magic, _, record, _ = LOCATOR.unpack(stream.read(LOCATOR.size))
        if magic == b"PK\6\7":
            if record + END_64.size > locator:
                raise Unreadable(CUT)
            stream.seek(record)
            magic, _, _, _, _, _, _, count, length, start = END_64.unpack(stream.read(END_64.size))
            end = record
            if magic != b"PK\6\6":
                raise Unreadable(CUT)
    if start + length != end:
        raise Unreadable(CUT)
    return start, length, count


def _entry(data: bytes, position: int) -> tuple[Member, int]:
    """One central directory entry, and the position of the next."""
    if position + ENTRY.size > len(data):
        raise Unreadable(CUT)
    magic, _, _, flags, method, _, _, crc, stored, size, *lengths, disk, _, _, header = (
        ENTRY.unpack_from(data, position)
    )
    following = position + ENTRY.size + sum(lengths)
    if magic != b"PK\1\2" or following > len(data) or disk:
        raise Unreadable(CUT)
    if flags & ENCRYPTED or method not in (STORED, DEFLATED):
        raise Unreadable(
            "is a zip archive that is encrypted or packed in a way that edgevit does not read"
        )
    name_end = position + ENTRY.size + lengths[0]
    name = data[position + ENTRY.size : name_end].decode("latin-1")
    wide = _wide_sizes(data[name_end : name_end + lengths[1]])
    values = [next(wide, FULL) if value == FULL else value for value in (size, stored, header)]
    member = Member(name, method, crc, stored=values[1], size=values[0], header=values[2])
    if method == STORED and member.size != member.stored:
        raise Unreadable(CUT)
    return member, following


def _wide_sizes(extra: bytes) -> Iterator[int]:
    """The zip64 extra field: the 64-bit values, in the order of the 32-bit ones they replace."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            body = extra[position + 4 : position + 4 + length]
            for start in range(0, len(body) - 7, 8):
                yield int.from_bytes(body[start : start + 8], "little")
            return
        position += 4 + length


def read_member(stream: BinaryIO, member: Member) -> bytearray:
    """A member's bytes, of exactly the stated size and checksum; raises `Unreadable`."""
    damaged = Unreadable(
        f"is damaged: its part {shown(member.name)} is not what it states; download it again"
    )
    stream.seek(member.header)
    header = stream.read(LOCAL.size)
    if len(header) != LOCAL.size or not header.startswith(b"PK\3\4"):
        raise damaged
    *_, name_length, extra_length = LOCAL.unpack(header)
    name = stream.read(name_length)
    start = member.header + LOCAL.size + name_length + extra_length
    if name.decode("latin-1") != member.name or start + member.stored > member.end:
        raise damaged
    stream.seek(start)
    data = bytearray(member.stored)
    if stream.readinto(data) != len(data):  # type: ignore[attr-defined]  # every stream we open has it
        raise damaged
    if member.method == DEFLATED:
        data = _inflate(data, member.size, damaged)
    if member.crc and zlib.crc32(data) != member.crc:
        raise damaged
    return data


def _inflate(data: bytearray, size: int, damaged: Unreadable) -> bytearray:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = bytearray(engine.decompress(data, size + 1))
    except zlib.error:
        raise damaged from None
    if len(unpacked) != size:
        raise damaged
    return unpacked
