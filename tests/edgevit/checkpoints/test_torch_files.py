"""What a torch file says about its storages, one statement at a time."""

import io
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from edgevit.checkpoints import read_checkpoint, torch_files
from edgevit.checkpoints.archives import Member, read_member
from edgevit.checkpoints.bounds import Unreadable
from edgevit.checkpoints.values import ITEM_BYTES
from edgevit.errors import CheckpointError

DATA = np.arange(6, dtype="<f4").tobytes()
WELL = list(range(6))


def read(path: Path) -> list[float]:
    values: list[float] = read_checkpoint(path).tensors["w"].flatten().tolist()
    return values


@pytest.mark.parametrize("zipped", [True, False], ids=["torch-zip", "torch-legacy"])
@pytest.mark.parametrize("dtype", ITEM_BYTES)
def test_every_dtype(tmp_path: Path, dtype: str, zipped: bool) -> None:
    wanted = torch.tensor([0, 1, 1]).to(getattr(torch, dtype))
    path = tmp_path / "x.pth"
    torch.save({"w": wanted}, path, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(path).tensors["w"]
    assert found.dtype == wanted.dtype
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    "storage",
    [
        {"rest": (None,)},
        {"rest": (("1", 0, 6),)},
        {"numel": 9, "rest": (("1", 0, 6),)},
    ],
    ids=str,
)
def test_views_of_a_storage(tmp_path: Path, forge: Any, storage: dict[str, Any]) -> None:
    program = forge.pickled({"w": forge.tensor(storage=forge.storage(**storage))})
    numel = storage.get("numel", 6)
    data = DATA + bytes(4 * (numel - 6))
    assert read(forge.legacy(tmp_path / "x.pth", program, {"0": (numel, data)})) == WELL
    assert read(forge.zip(tmp_path / "x.pth", program, {"0": data})) == WELL


@pytest.mark.parametrize(
    ("tensor", "values"),
    [
        ({"offset": 5, "shape": (), "stride": ()}, [5]),
        ({"offset": 4, "shape": (2,), "stride": (1,)}, [4, 5]),
        ({"shape": (2, 3), "stride": (1, 2)}, [0, 2, 4, 1, 3, 5]),
        ({"offset": 5, "shape": (6,), "stride": (0,)}, [5] * 6),
        ({"offset": 99, "shape": (0, 2), "stride": (2, 1)}, []),
        ({"offset": 1, "shape": (2, 2), "stride": (3, 1)}, [1, 2, 4, 5]),
        ({"offset": 0, "shape": (1, 6), "stride": (1 << 40, 1)}, WELL),
    ],
    ids=str,
)
def test_views_that_lie_inside(
    tmp_path: Path, forge: Any, tensor: dict[str, Any], values: list[int]
) -> None:
    path = forge.zip(tmp_path / "x.pth", forge.pickled({"w": forge.tensor(**tensor)}), {"0": DATA})
    assert read(path) == values


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ({"shape": (7,), "stride": (0,)}, "outside its storage"),
        ({"offset": 6, "shape": (1,), "stride": (1,)}, "outside its storage"),
        ({"offset": 3, "shape": (2, 2), "stride": (2, 1)}, "outside its storage"),
        ({"offset": True}, "impossible offset"),
        ({"stride": (3, True)}, "impossible stride"),
    ],
    ids=str,
)
def test_views_that_do_not(tmp_path: Path, forge: Any, tensor: dict[str, Any], why: str) -> None:
    path = forge.zip(tmp_path / "x.pth", forge.pickled({"w": forge.tensor(**tensor)}), {"0": DATA})
    with pytest.raises(CheckpointError, match=why):
        read(path)


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "too large": ({"numel": 1 << 48}, "impossible size"),
    "as large as there are": ({"numel": (1 << 48) - 1}, "values for its storage 0"),
    "size of true": ({"numel": True}, "impossible size"),
    "view of a list": ({"rest": ([],)}, "not well formed"),
    "view of two": ({"rest": (("1", 0),)}, "not well formed"),
    "view of four": ({"rest": (("1", 0, 6, 0),)}, "not well formed"),
    "two views": ({"rest": (None, None)}, "not well formed"),
    "view outside": ({"rest": (("1", 1, 6),)}, "view that reaches outside"),
    "view before": ({"rest": (("1", -1, 6),)}, "impossible size"),
    "shorter view": ({"rest": (("1", 0, 5),)}, "outside its storage"),
}


@pytest.mark.parametrize("name", LIES)
def test_storages_that_cannot_be(tmp_path: Path, forge: Any, name: str) -> None:
    storage, why = LIES[name]
    program = forge.pickled({"w": forge.tensor(storage=forge.storage(**storage))})
    with pytest.raises(CheckpointError, match=why):
        read(forge.zip(tmp_path / "x.pth", program, {"0": DATA}))


@pytest.mark.parametrize(
    "identity",
    [b"N", b"](K\x01e", b"(U\x07storageNNNt", b"(U\x07storageU\x01xU\x010U\x03cpuK\x06t"],
)
def test_identities_of_another_form(tmp_path: Path, forge: Any, identity: bytes) -> None:
    path = forge.zip(tmp_path / "x.pth", b"\x80\x02" + identity + b"Q.", {})
    with pytest.raises(CheckpointError, match=r"not well formed|no type"):
        read(path)


def test_two_storages_of_two_types_under_one_key(tmp_path: Path, forge: Any) -> None:
    other = forge.tensor(storage=forge.storage(kind=torch.IntStorage))
    path = forge.zip(tmp_path / "x.pth", forge.pickled([forge.tensor(), other]), {"0": DATA})
    with pytest.raises(CheckpointError, match="in two ways"):
        read(path)


@pytest.mark.parametrize("order", [b"big", b"middle", b"little ", b"l", b"", b"little" * 99])
def test_byte_orders_other_than_little(tmp_path: Path, forge: Any, order: bytes) -> None:
    program = forge.pickled({"w": forge.tensor()})
    path = forge.zip(tmp_path / "x.pth", program, {"0": DATA}, byteorder=order)
    with pytest.raises(CheckpointError, match="is not little-endian"):
        read(path)


def test_a_file_of_before_byte_orders_were_written(tmp_path: Path, forge: Any) -> None:
    """As torch 1.6 to 2.0 write it; pickles that lie deeper are none of the format's."""
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", forge.pickled({"w": forge.tensor()}))
        archive.writestr("a/data/0", DATA)
        archive.writestr("a/deeper/data.pkl", b"")
    assert read(path) == WELL


def test_the_largest_pickle_in_an_archive(
    tmp_path: Path, forge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = forge.pickled({"w": forge.tensor()})
    path = forge.zip(tmp_path / "x.pth", program, {"0": DATA})
    monkeypatch.setattr(torch_files, "PICKLE_BYTES", len(program))
    assert read(path) == WELL
    monkeypatch.setattr(torch_files, "PICKLE_BYTES", len(program) - 1)
    read_names: list[str] = []

    def watched(stream: BinaryIO, member: Member) -> bytearray:
        read_names.append(member.name)
        return read_member(stream, member)

    monkeypatch.setattr(torch_files, "read_member", watched)
    with pytest.raises(CheckpointError, match="larger pickle"):
        read(path)
    assert read_names == ["archive/byteorder"]


def test_no_pickle_of_a_stream_is_asked_for_more_than_is_left(forge: Any) -> None:
    program = forge.pickled(torch_files.MAGIC) + b"\x80\x02U\x0fabc"
    with pytest.raises(Unreadable, match="ends early"):
        torch_files.read_legacy(forge.measured(program), len(program))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"magic": [0x1950A86A20F9469CFC6C]}, "not well formed"),
        ({"protocol": 1000}, "not well formed"),
        ({"protocol": None}, "not well formed"),
        ({"system": {"little_endian": False}}, "is not little-endian"),
        ({"system": {"little_endian": 1}}, "is not little-endian"),
        ({"system": {}}, "is not little-endian"),
        ({"system": None}, "is not little-endian"),
        ({"keys": ("0",)}, "not well formed"),
        ({"keys": [0]}, "not well formed"),
        ({"keys": ["0", 0]}, "not well formed"),
        ({"keys": ["0", "0"]}, "storage 0 that it does not describe"),
        ({"keys": []}, "32 bytes after its last tensor"),
    ],
    ids=str,
)
def test_streams_of_another_form(
    tmp_path: Path, forge: Any, fields: dict[str, Any], why: str
) -> None:
    program = forge.pickled({"w": forge.tensor()})
    with pytest.raises(CheckpointError, match=why):
        read(forge.legacy(tmp_path / "x.pth", program, {"0": (6, DATA)}, **fields))


def test_several_storages_in_a_stream(tmp_path: Path, forge: Any) -> None:
    """Each is found behind those before it, however they are used."""
    second = forge.tensor(storage=forge.storage(key="1", kind=torch.HalfStorage, numel=6))
    program = forge.pickled({"w": forge.tensor(), "v": second, "u": forge.tensor()})
    halves = np.arange(6, dtype="<f2").tobytes()
    path = forge.legacy(tmp_path / "x.pth", program, {"1": (6, halves), "0": (6, DATA)})
    found = read_checkpoint(path).tensors
    assert [found[name].flatten().tolist() for name in "wvu"] == [WELL, WELL, WELL]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="tensors end early"):
        read(path)


def test_a_stream_that_became_shorter(tmp_path: Path, forge: Any) -> None:
    """Between its description and its bytes."""
    path = forge.legacy(tmp_path / "x.pth", forge.pickled({"w": forge.tensor()}), {"0": (6, DATA)})
    stream = io.BytesIO(path.read_bytes())
    contents = torch_files.read_legacy(stream, path.stat().st_size)
    assert contents.fetch("0") == DATA
    stream.truncate(path.stat().st_size - 1)
    with pytest.raises(Unreadable, match="ends early"):
        contents.fetch("0")
