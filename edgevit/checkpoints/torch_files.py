"""Reads what torch.save writes: zip files (since torch 1.6) and the streams of before.

Source: torch/serialization.py of torch 2.13 (`_save`, `_legacy_save`, `_legacy_load`).
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from edgevit.checkpoints.archives import Member, read_member
from edgevit.checkpoints.bounds import PICKLE_BYTES, Unreadable, shown
from edgevit.checkpoints.pickles import BROKEN, ENDS_EARLY, read_pickle
from edgevit.checkpoints.values import ITEM_BYTES, LazyStorage, Marker

MAGIC = 0x1950A86A20F9469CFC6C
MAGIC_BYTES = MAGIC.to_bytes(10, "little")
PROTOCOL = 1001
LITTLE = b"little"
OTHER_ORDER = "is not little-endian, the one byte order that edgevit reads"

Fetch = Callable[[str], bytearray]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file describes, and how to get the bytes of one of its storages."""

    root: object
    fetch: Fetch


@dataclass(slots=True)
class _Storages:
    """The storages that a pickle names: key -> (dtype, elements)."""

    declared: dict[str, tuple[str, int]] = field(default_factory=dict)

    def load(self, identity: object) -> LazyStorage:
        """("storage", class, key, location, elements[, view]); a view is (key, start, elements)."""
        if (
            not isinstance(identity, tuple)
            or len(identity) not in (5, 6)
            or identity[0] != "storage"
        ):
            raise Unreadable(BROKEN)
        _, kind, key, _, total, *rest = identity
        if not isinstance(kind, Marker) or kind.dtype is None or not isinstance(key, str):
            raise Unreadable("holds a tensor whose storage has no type")
        start, numel = 0, total
        if rest and rest[0] is not None:
            if not isinstance(rest[0], tuple) or len(rest[0]) != 3:
                raise Unreadable(BROKEN)
            _, start, numel = rest[0]
        for value in (total, start, numel):
            if type(value) is not int or not 0 <= value < 1 << 48:
                raise Unreadable("holds a storage of an impossible size")
        if start + numel > total:
            raise Unreadable("holds a view that reaches outside its storage")
        declared = self.declared.setdefault(key, (kind.dtype, total))
        if declared != (kind.dtype, total):
            raise Unreadable(f"describes its storage {shown(key)} in two ways")
        return LazyStorage(key, kind.dtype, start, numel, total)


def read_zip(stream: BinaryIO, members: Mapping[str, Member]) -> Contents:
    """The contents of a torch zip file, storages left in the file; raises `Unreadable`."""
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    prefix = pickles[0].removesuffix("data.pkl")
    if len(pickles) != 1:
        raise Unreadable(
            "is a zip archive with several torch files in it; unpack it and give one of them"
        )
    order = members.get(f"{prefix}byteorder")
    if order is not None and (order.size != len(LITTLE) or read_member(stream, order) != LITTLE):
        raise Unreadable(OTHER_ORDER)
    pickle = members[pickles[0]]
    if pickle.size > PICKLE_BYTES:
        raise Unreadable("holds a larger pickle than edgevit reads")
    storages = _Storages()
    data = io.BytesIO(read_member(stream, pickle))
    root = read_pickle(data, pickle.size, PICKLE_BYTES, storages.load)

    def fetch(key: str) -> bytearray:
        dtype, total = storages.declared[key]
        member = members.get(f"{prefix}data/{key}")
        if member is None:
            raise Unreadable(f"lacks its storage {shown(key)}; download it again")
        if member.size != total * ITEM_BYTES[dtype]:
            raise Unreadable(
                f"states {total} {dtype} values for its storage {shown(key)}, "
                f"which has {member.size} bytes"
            )
        return read_member(stream, member)

    return Contents(root, fetch)


def read_legacy(stream: BinaryIO, size: int) -> Contents:
    """The contents of a torch file of before zip: five pickles, then storages with lengths."""

    def load(storages: _Storages | None = None) -> object:
        left = size - stream.tell()
        return read_pickle(stream, left, PICKLE_BYTES, storages.load if storages else None)

    if load() != MAGIC or load() != PROTOCOL:
        raise Unreadable(BROKEN)
    system = load()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Unreadable(OTHER_ORDER)
    storages = _Storages()
    root = load(storages)
    keys = load()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise Unreadable(BROKEN)
    places = _places(stream, size, keys, storages)

    def fetch(key: str) -> bytearray:
        if key not in places:
            raise Unreadable(f"lacks its storage {shown(key)}; download it again")
        start, length = places[key]
        stream.seek(start)
        data = bytearray(length)
        if stream.readinto(data) != length:  # type: ignore[attr-defined]  # every stream we open has it
            raise Unreadable(ENDS_EARLY)
        return data

    return Contents(root, fetch)


def _places(
    stream: BinaryIO, size: int, keys: list[str], storages: _Storages
) -> dict[str, tuple[int, int]]:
    """Key -> (start, bytes) of each storage; passes over them without reading them."""
    places: dict[str, tuple[int, int]] = {}
    position = stream.tell()
    for key in keys:
        if key in places or key not in storages.declared:
            raise Unreadable(f"lists a storage {shown(key)} that it does not describe")
        dtype, total = storages.declared[key]
        stream.seek(position)
        stated = stream.read(8)
        start, length = position + 8, total * ITEM_BYTES[dtype]
        if start + length > size:
            raise Unreadable("is truncated: its tensors end early; download it again")
        if int.from_bytes(stated, "little") != total:
            raise Unreadable(f"states two lengths for its storage {shown(key)}")
        places[key] = (start, length)
        position = start + length
    if position != size:
        raise Unreadable(
            f"holds {size - position} bytes after its last tensor, which belong to nothing"
        )
    return places
