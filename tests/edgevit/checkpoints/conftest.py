"""Writers of checkpoints, honest and not, for the tests beside this file."""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch


@dataclass(frozen=True)
class FakeStorage:
    """What a pickle says about a storage, true or not."""

    key: object = "0"
    kind: object = torch.FloatStorage
    numel: object = 6
    tag: object = "storage"
    rest: tuple[object, ...] = ()


@dataclass(frozen=True)
class FakeTensor:
    """What a pickle says about a tensor, true or not."""

    storage: object = FakeStorage()
    offset: object = 0
    shape: object = (2, 3)
    stride: object = (3, 1)
    rest: tuple[object, ...] = (False, None)

    def __reduce__(self) -> tuple[object, ...]:
        arguments = (self.storage, self.offset, self.shape, self.stride, *self.rest)
        return torch._utils._rebuild_tensor_v2, arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        if isinstance(obj, FakeStorage):
            return (obj.tag, obj.kind, obj.key, "cpu", obj.numel, *obj.rest)
        return None


def pickled(root: object, protocol: int = 2) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol).dump(root)
    return buffer.getvalue()


def write_zip(
    path: Path, pickle_bytes: bytes, storages: dict[str, bytes], **records: bytes
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_bytes)
        for name, data in {"byteorder": b"little", **records}.items():
            archive.writestr(f"archive/{name}", data)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
    return path


SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


def write_legacy(
    path: Path,
    pickle_bytes: bytes,
    storages: dict[str, tuple[int, bytes]],
    *,
    magic: object = 0x1950A86A20F9469CFC6C,
    protocol: object = 1001,
    system: object = SYSTEM,
    keys: object = None,
) -> Path:
    with path.open("wb") as stream:
        for value in (magic, protocol, system):
            stream.write(pickled(value))
        stream.write(pickle_bytes)
        stream.write(pickled(list(storages) if keys is None else keys))
        for numel, data in storages.values():
            stream.write(struct.pack("<q", numel) + data)
    return path


class Measured(io.BytesIO):
    """A file that is never asked for more than it holds, as that would be memory for nothing."""

    def read(self, count: int | None = None) -> bytes:
        assert count is not None
        assert count <= len(self.getvalue()) - self.tell()
        return super().read(count)


@dataclass(frozen=True)
class Forge:
    """The writers above, for tests."""

    measured = Measured
    storage = FakeStorage
    tensor = FakeTensor
    pickled = staticmethod(pickled)
    zip = staticmethod(write_zip)
    legacy = staticmethod(write_legacy)


@pytest.fixture
def forge() -> Forge:
    return Forge()


@pytest.fixture
def state() -> collections.OrderedDict[str, torch.Tensor]:
    """A state dict with every kind of layout that a training run leaves."""
    torch.manual_seed(0)
    return collections.OrderedDict(
        [
            ("conv.weight", torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)),
            ("conv.bias", torch.nn.Parameter(torch.randn(4))),
            ("half", torch.randn(5).half()),
            ("bfloat", torch.randn(2, 3).bfloat16()),
            ("transposed", torch.randn(3, 5).t()),
            ("slice", torch.arange(20.0)[4:9]),
            ("bn.num_batches_tracked", torch.tensor(7)),
            ("empty", torch.zeros(0, 3)),
            ("flag", torch.tensor([True, False])),
        ]
    )


@pytest.fixture
def same() -> Callable[[object, object], None]:
    """Asserts that tensors came as they were written: values, dtypes, own contiguous memory."""

    def check(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
        assert list(found) == list(wanted)
        for key, tensor in wanted.items():
            assert found[key].dtype == tensor.dtype, key
            assert torch.equal(found[key], tensor.detach()), key
            assert found[key].is_contiguous(), key
            assert found[key].device.type == "cpu"
            assert not found[key].requires_grad
            held = found[key].untyped_storage().nbytes()
            assert held == tensor.numel() * tensor.element_size(), key
        pointers = [t.data_ptr() for t in found.values() if t.numel()]
        assert len(set(pointers)) == len(pointers)

    return check


def raw_archive(
    members: dict[str, bytes],
    *,
    method: int = 0,
    size: int | None = None,
    stored: int | None = None,
    header: int | None = None,
    crc: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    on_disk: int = 0,
    backwards: bool = False,
    wide: bool = False,
    record: int | None = None,
    comment: bytes = b"",
    **end: int,
) -> bytes:
    """A zip archive written field by field: what it states need not be true.

    size, stored, header, extra, flags, on_disk: of each directory entry; backwards: the entries
    stand in another order than the members; wide: with the zip64 records, which the locator says
    to start at `record`; end: fields of the end record (disk, first, here, count, length, start).
    """
    body, entries = b"", []
    for name, data in members.items():
        text = name.encode()
        sizes = len(data) if stored is None else stored, len(data) if size is None else size
        fields = (20, flags, method, 0, 0, crc, *sizes, len(text))
        place = len(body) if header is None else header
        rest = len(extra), 0, on_disk, 0, 0, place
        entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *fields, *rest)
        entries.append(entry + text + extra)
        body += struct.pack("<4s5H3I2H", b"PK\3\4", *fields, 0) + text + data
    directory = b"".join(reversed(entries) if backwards else entries)
    counts = {"disk": 0, "first": 0, "here": len(members), "count": len(members)}
    places = {"length": len(directory), "start": len(body)}
    last = struct.pack("<4s4H2IH", b"PK\5\6", *{**counts, **places, **end}.values(), len(comment))
    if wide:
        at = len(body) + len(directory)
        numbers = (44, 45, 45, 0, 0, len(members), len(members), len(directory), len(body))
        directory += struct.pack("<4sQ2H2I4Q", b"PK\6\6", *numbers)
        directory += struct.pack("<4sIQI", b"PK\6\7", 0, at if record is None else record, 1)
    return body + directory + last + comment


@pytest.fixture
def raw_zip() -> Callable[..., bytes]:
    return raw_archive
