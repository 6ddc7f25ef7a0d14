"""Files that were cut, changed or made to lie: one clear sentence, never another exception."""

import pickle
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgevit.checkpoints import read_checkpoint
from edgevit.checkpoints.bounds import MIB
from edgevit.errors import CheckpointError


def content() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {f"block.{i}.weight": torch.rand(8, 9, generator=generator) for i in range(4)}


def write_pickle(path: Path) -> None:
    arrays = {key: tensor.numpy() for key, tensor in content().items()}
    path.write_bytes(pickle.dumps({"model": arrays}, 4))


def write_npz(path: Path, save: Callable[..., None]) -> None:
    with path.open("wb") as stream:
        save(stream, **{key: tensor.numpy() for key, tensor in content().items()})


WRITERS: dict[str, Callable[[Path], object]] = {
    "torch-zip": lambda path: torch.save({"state_dict": content()}, path),
    "torch-legacy": lambda path: torch.save(
        {"state_dict": content()}, path, _use_new_zipfile_serialization=False
    ),
    "pickle": write_pickle,
    "npz": lambda path: write_npz(path, np.savez),
    "npz-deflated": lambda path: write_npz(path, np.savez_compressed),
    "safetensors": lambda path: save_file(content(), path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_truncated_anywhere(tmp_path, kind):
    path = tmp_path / "x.pth"
    WRITERS[kind](path)
    whole = path.read_bytes()
    step = max(1, len(whole) // 40)
    cuts = sorted({*range(0, len(whole), step), 1, 2, 7, 8, 9, 20, len(whole) - 1, len(whole) - 2})
    assert len(cuts) >= 40
    for cut in cuts:
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path)
        assert caught.value.message.startswith("x.pth ")
        assert caught.value.next


@pytest.mark.parametrize("kind", WRITERS)
def test_changed_bytes(tmp_path, kind):
    path = tmp_path / "x.pth"
    WRITERS[kind](path)
    whole = path.read_bytes()
    keys = list(content())
    generator = random.Random(kind)
    refused = 0
    tracemalloc.start()
    for round_ in range(200):
        changed = bytearray(whole)
        for _ in range(1 + round_ % 3):
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        try:
            read = read_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            if kind in ("torch-zip", "npz", "npz-deflated"):  # the others carry no checksums
                assert sorted(read.tensors) == keys
            assert all(tensor.numel() < 10_000 for tensor in read.tensors.values())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MIB
    assert refused


def test_changed_pickle_behind_a_right_checksum(tmp_path, forge):
    """What a checksum cannot catch: a changed pickle, in an archive that was made anew."""
    path = tmp_path / "x.pth"
    WRITERS["torch-zip"](path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    (name,) = (name for name in records if name.endswith("/data.pkl"))
    storages = {key.rpartition("/")[2]: data for key, data in records.items() if "/data/" in key}
    generator = random.Random(3)
    refused = 0
    for _ in range(400):
        changed = bytearray(records[name])
        for _ in range(generator.randint(1, 3)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        forge.zip(path, bytes(changed), storages)
        try:
            read = read_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert sum(tensor.numel() for tensor in read.tensors.values()) <= 4 * 8 * 9
    assert 200 < refused < 400


LIES = {
    "too few bytes": ({}, {}, {"0": bytes(20)}, "6 float32 values for its storage 0"),
    "too many bytes": ({}, {}, {"0": bytes(28)}, "6 float32 values for its storage 0"),
    "no storage": ({}, {}, {}, "lacks its storage 0"),
    "path as key": (
        {"key": "../version"},
        {},
        {"0": bytes(24)},
        "lacks its storage ../version",
    ),
    "negative storage": ({"numel": -6}, {}, {"0": bytes(24)}, "impossible size"),
    "huge storage": ({"numel": 1 << 60}, {}, {"0": bytes(24)}, "impossible size"),
    "storage of text": ({"numel": "6"}, {}, {"0": bytes(24)}, "impossible size"),
    "untyped": ({"kind": torch.device}, {}, {"0": bytes(24)}, "no type"),
    "key of numbers": ({"key": 0}, {}, {"0": bytes(24)}, "no type"),
    "another tag": ({"tag": "module"}, {}, {"0": bytes(24)}, "not well formed"),
    "view": ({"rest": (("1", 4, 6),)}, {}, {"0": bytes(24)}, "outside its storage"),
    "offset": ({}, {"offset": 1}, {"0": bytes(24)}, "outside its storage"),
    "negative offset": ({}, {"offset": -1}, {"0": bytes(24)}, "impossible offset"),
    "shape": ({}, {"shape": (2, 4)}, {"0": bytes(24)}, "outside its storage"),
    "negative shape": ({}, {"shape": (-2, -3)}, {"0": bytes(24)}, "impossible shape"),
    "stride": ({}, {"stride": (4, 1)}, {"0": bytes(24)}, "outside its storage"),
    "negative stride": ({}, {"stride": (-3, 1)}, {"0": bytes(24)}, "impossible stride"),
    "repeating": ({}, {"shape": (1 << 30,), "stride": (0,)}, {"0": bytes(24)}, "outside"),
    "huge and empty": (
        {},
        {"shape": (0, 1 << 39, 1 << 39), "stride": (1, 1, 1)},
        {"0": bytes(24)},
        "impossible shape",
    ),
    "ranks": ({}, {"stride": (1,)}, {"0": bytes(24)}, "disagree"),
    "shape of floats": ({}, {"shape": (2.0, 3.0)}, {"0": bytes(24)}, "impossible shape"),
    "shape of a list": ({}, {"shape": [2, 3]}, {"0": bytes(24)}, "broken shape"),
    "no tensor": ({}, {"storage": None}, {"0": bytes(24)}, "without a storage"),
    "conjugate": ({}, {"rest": (False, None, {"conj": True})}, {"0": bytes(24)}, "conjugated"),
    "bool of bytes": (
        {"kind": torch.BoolStorage},
        {},
        {"0": b"\2" * 6},
        "true and false in w",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_about_storages(tmp_path, forge, name):
    storage, tensor, data, wanted = LIES[name]
    fake = forge.tensor(**{"storage": forge.storage(**storage), **tensor})
    path = forge.zip(tmp_path / "x.pth", forge.pickled({"w": fake}), data)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert wanted in caught.value.message


def test_two_descriptions_of_one_storage(tmp_path, forge):
    second = forge.tensor(storage=forge.storage(numel=12))
    path = forge.zip(tmp_path / "x.pth", forge.pickled([forge.tensor(), second]), {"0": bytes(24)})
    with pytest.raises(CheckpointError, match="describes its storage 0 in two ways"):
        read_checkpoint(path)


def test_many_views_of_one_storage_are_bounded(tmp_path, forge):
    one = forge.storage(numel=MIB)
    views = {f"w{i}": forge.tensor(storage=one, shape=(MIB,), stride=(1,)) for i in range(100)}
    path = forge.zip(tmp_path / "x.pth", forge.pickled(views), {"0": bytes(4 * MIB)})
    with pytest.raises(CheckpointError, match="far larger than itself"):
        read_checkpoint(path)


def test_an_old_view_of_a_storage_is_read(tmp_path, forge):
    data = np.arange(8, dtype="<f4").tobytes()
    fake = forge.tensor(storage=forge.storage(numel=8, rest=(("1", 2, 6),)))
    path = forge.legacy(tmp_path / "x.pth", forge.pickled({"w": fake}), {"0": (8, data)})
    assert read_checkpoint(path).tensors["w"].flatten().tolist() == [2, 3, 4, 5, 6, 7]


LEGACY_LIES = {
    "length": ({"0": (5, bytes(24))}, "two lengths for its storage 0"),
    "unknown key": ({"0": (6, bytes(24)), "9": (1, bytes(4))}, "a storage 9 that it does not"),
    "left out": ({}, "lacks its storage 0"),
    "short": ({"0": (6, bytes(20))}, "truncated"),
    "long": ({"0": (6, bytes(28))}, "4 bytes after its last tensor"),
}


@pytest.mark.parametrize("name", LEGACY_LIES)
def test_legacy_lies(tmp_path, forge, name):
    storages, wanted = LEGACY_LIES[name]
    path = forge.legacy(tmp_path / "x.pth", forge.pickled({"w": forge.tensor()}), storages)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert wanted in caught.value.message


def test_two_torch_files_in_one_archive(tmp_path, forge):
    path = forge.zip(tmp_path / "x.pth", forge.pickled({"w": forge.tensor()}), {"0": bytes(24)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"")
    with pytest.raises(CheckpointError, match="several torch files"):
        read_checkpoint(path)


def npy(header: str, data: bytes) -> bytes:
    text = (header + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


NPY_LIES = {
    "huge": (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
        "fill its shape",
    ),
    "negative": ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "impossible shape"),
    "structure": ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "not read"),
    "big-endian": ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}", "not read"),
    "text": ("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}", "not read"),
    "long double": ("{'descr': '<f16', 'fortran_order': False, 'shape': (0,)}", "not read"),
    "objects": ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "Python objects"),
    "no header": ("{", "is no array"),
    "deep": ("(" * 3000, "is no array"),
    "a call": ("__import__('os').getcwd()", "is no array"),
}


@pytest.mark.parametrize("name", NPY_LIES)
def test_npy_lies(tmp_path, name):
    header, wanted = NPY_LIES[name]
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.npy", npy(header, bytes(4)))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert wanted in caught.value.message


def test_zip_bomb(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, w=np.zeros(16 * MIB, np.uint8))
    with pytest.raises(CheckpointError, match="unpacks to far more than its size"):
        read_checkpoint(path)


def patched(path: Path, old: bytes, new: bytes, count: int = -1) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, count))


def test_bomb_that_lies_about_its_size(tmp_path):
    path = tmp_path / "x.npz"
    zeros = np.zeros(16 * MIB, np.uint8)
    np.savez_compressed(path, w=zeros)
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("w.npy").file_size
    patched(path, size.to_bytes(4, "little"), (200).to_bytes(4, "little"))
    with pytest.raises(CheckpointError, match=r"its part w.npy is not what it states"):
        read_checkpoint(path)


def test_wrong_checksum(tmp_path, forge):
    data = np.arange(6, dtype="<f4").tobytes()
    path = forge.zip(tmp_path / "x.pth", forge.pickled({"w": forge.tensor()}), {"0": data})
    patched(path, data, data[::-1])
    with pytest.raises(CheckpointError, match="its part archive/data/0 is not what it states"):
        read_checkpoint(path)
    assert zlib.crc32(data) != zlib.crc32(data[::-1])


def test_archive_with_two_members_of_one_name(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(1), b=np.ones(1))
    patched(path, b"b.npy", b"a.npy")
    with pytest.raises(CheckpointError, match=r"holds a\.npy twice"):
        read_checkpoint(path)


def test_archive_whose_members_overlap(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(1), b=np.ones(1))
    with zipfile.ZipFile(path) as archive:
        second = archive.getinfo("b.npy").header_offset
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\1\2")
    assert int.from_bytes(data[entry + 42 : entry + 46], "little") == second
    data[entry + 42 : entry + 46] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="zip directory"):
        read_checkpoint(path)


def test_encrypted_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(1))
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="encrypted"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        b'{"w":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]}}',
        b'{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}',
    ],
)
def test_safetensors_lies(tmp_path, header):
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="header does not match"):
        read_checkpoint(path)


@pytest.mark.parametrize(("dtype", "shape"), [("F4", 8), ("F8_E4M3", 4)])
def test_safetensors_of_small_floats(tmp_path, dtype, shape):
    path = tmp_path / "x.safetensors"
    header = f'{{"w":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[0,4]}}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match=r"holds w as float\d.*, which edgevit does not read"):
        read_checkpoint(path)
