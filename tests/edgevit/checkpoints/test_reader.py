"""One file of each kind, and the files that are none."""

import argparse
import gzip
import hashlib
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgevit.checkpoints import read_checkpoint
from edgevit.checkpoints.values import NUMBER_BYTES
from edgevit.errors import CheckpointError, EnvironmentFailed, MissingDependency


@pytest.mark.parametrize("zipped", [True, False], ids=["torch-zip", "torch-legacy"])
def test_torch_file(tmp_path, state, same, zipped):
    path = tmp_path / "x.pth"
    namespace = argparse.Namespace(lr=0.1, milestones=[1, 2])
    torch.save(
        {
            "meta": {"CLASSES": ["wall", "sky"], "config": "model = dict()", "iter": 3},
            "state_dict": state,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(9)}}, "param_groups": []},
            "args": namespace,
            "epoch": np.int64(12),
            "nothing": np.zeros(0),
            "palette": np.array([[1, 2], [3, 4]], np.uint8),
            "text": np.array(["wall", "ä"]),
            "bytes": np.array([b"ab", b"c"]),
            "dtype": torch.float32,
            "device": torch.device("cuda:1"),
            "shape": torch.Size([1, 2]),
        },
        path,
        _use_new_zipfile_serialization=zipped,
    )
    read = read_checkpoint(path)
    same(read.tensors, state)
    assert read.kind == ("torch-zip" if zipped else "torch-legacy")
    assert read.container == "state_dict"
    assert read.path == path
    assert read.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read.meta == {
        "CLASSES": ("wall", "sky"),
        "config": "model = dict()",
        "iter": 3,
        "args": {"lr": 0.1, "milestones": (1, 2)},
        "epoch": 12,
        "nothing": (),
        "palette": ((1, 2), (3, 4)),
        "text": ("wall", "ä"),
        "bytes": (b"ab", b"c"),
        "device": "cuda:1",
        "shape": (1, 2),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_tied_and_parallel_weights(tmp_path, same, zipped):
    tied = torch.randn(3, 3)
    path = tmp_path / "x.pth"
    torch.save(
        {"module.a": tied, "module.b": tied, "module.c": tied[1]},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    same(read_checkpoint(path).tensors, {"a": tied, "b": tied, "c": tied[1]})
    two = {"module.a": tied, "b": tied}
    torch.save(two, path, _use_new_zipfile_serialization=zipped)
    same(read_checkpoint(path).tensors, two)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_pickle_of_arrays(tmp_path, protocol):
    path = tmp_path / "x.pkl"
    weight = np.asfortranarray(np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32))
    model = {"w": weight, "steps": np.int64(3), "half": np.ones(2, np.float16)}
    with path.open("wb") as stream:
        pickle.dump({"model": model, "__author__": "x", "tags": {"a"}}, stream, protocol)
    read = read_checkpoint(path)
    assert (read.kind, read.container) == ("pickle", "model")
    assert {key: tensor.dtype for key, tensor in read.tensors.items()} == {
        "w": torch.float32,
        "steps": torch.int64,
        "half": torch.float16,
    }
    assert torch.equal(read.tensors["w"], torch.from_numpy(weight))
    assert read.tensors["w"].is_contiguous()
    assert read.meta == {"__author__": "x", "tags": frozenset({"a"})}


@pytest.mark.parametrize("code", NUMBER_BYTES)
def test_every_kind_of_number_of_numpy(tmp_path, code):
    wanted = np.array([0, 1, 1]).astype(f"<{code}")
    pickled, named = tmp_path / "x.pkl", tmp_path / "x.npz"
    wanted.dump(tmp_path / "array")
    pickled.write_bytes(b"\x80\x04}\x8c\x01w" + (tmp_path / "array").read_bytes()[2:-1] + b"s.")
    np.savez(named, w=wanted)
    for path in (pickled, named):
        found = read_checkpoint(path).tensors["w"]
        assert found.numpy().dtype == wanted.dtype
        assert found.tolist() == wanted.tolist()


def test_pickle_of_python_2(tmp_path):
    # Python 2 wrote bytes and text alike with SHORT_BINSTRING, and numpy under its old name.
    data = np.array([1.5, -2.0], "<f4").tobytes()
    minus_one = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN" + 2 * minus_one + b"K\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85" + dtype + b"\x89U\x08" + data + b"tb"
    )
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02}U\x05model}U\x01w" + array + b"ss.")
    assert read_checkpoint(path).tensors["w"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    path = tmp_path / "x.npz"
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    save(
        path,
        **{"Transformer/a/kernel": kernel, "f": np.asfortranarray(kernel), "z": np.zeros((0, 2))},
    )
    read = read_checkpoint(path)
    assert (read.kind, read.container, dict(read.meta)) == ("npz", "", {})
    assert torch.equal(read.tensors["Transformer/a/kernel"], torch.from_numpy(kernel))
    assert torch.equal(read.tensors["f"], torch.from_numpy(kernel))
    assert read.tensors["z"].shape == (0, 2)


def test_a_pickle_that_looks_like_safetensors(tmp_path):
    """At the ninth byte."""
    path = tmp_path / "x.pkl"
    program = pickle.dumps({"a{": np.ones(1)}, 2)
    path.write_bytes(program.replace(b"X\2\0\0\0a{", b"U\2a{"))
    assert path.read_bytes()[8:9] == b"{"
    assert list(read_checkpoint(path).tensors) == ["a{"]


def test_safetensors_by_name_alone(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"\xff" * 99)
    with pytest.raises(CheckpointError, match="header is longer than the file"):
        read_checkpoint(path)


def test_npz_of_one_array_in_a_directory(tmp_path):
    np.savez(tmp_path / "x.npz", **{"a/w": np.ones(1)})
    assert list(read_checkpoint(tmp_path / "x.npz").tensors) == ["a/w"]


def test_npz_with_bfloat16(tmp_path):
    path = tmp_path / "x.npz"
    wanted = torch.tensor([1.5, -3.0]).bfloat16()
    np.savez(path, w=wanted.view(torch.int16).numpy().view("V2"))
    assert torch.equal(read_checkpoint(path).tensors["w"], wanted)


def test_npz_with_pickles_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, w=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match=r"Python objects in w\.npy"):
        read_checkpoint(path)


def test_safetensors(tmp_path, state, same):
    plain = {key: tensor.detach().contiguous().clone() for key, tensor in state.items()}
    path = tmp_path / "x.safetensors"
    save_file(plain, path, metadata={"classes": "wall,sky"})
    read = read_checkpoint(path)
    assert (read.kind, read.container) == ("safetensors", "")
    same({key: read.tensors[key] for key in plain}, plain)
    assert read.meta == {"classes": "wall,sky"}


@pytest.mark.parametrize("length", [0x4B50, 0x8B1F])
def test_safetensors_whose_header_length_looks_like_another_kind(tmp_path, length):
    path = tmp_path / "weights.bin"
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header + bytes(4))
    assert read_checkpoint(path).tensors["w"].tolist() == [0.0]


def test_without_checksums(tmp_path, state, same):
    path = tmp_path / "x.pth"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(True)
    same(read_checkpoint(path).tensors, state)


@pytest.mark.parametrize("zipped", [True, False], ids=["torch-zip", "torch-legacy"])
def test_optimizer_is_never_read(tmp_path, forge, zipped):
    """Only one of two storages is there as stated; the other belongs to the optimizer."""
    wanted = torch.arange(6.0)
    root = {
        "state_dict": {"w": forge.tensor()},
        "optimizer": {"state": {0: forge.tensor(storage=forge.storage(key="1", numel=1 << 20))}},
    }
    path = tmp_path / "x.pth"
    data = wanted.numpy().tobytes()
    if zipped:
        forge.zip(path, forge.pickled(root), {"0": data})
    else:
        forge.legacy(path, forge.pickled(root), {"0": (6, data), "1": (1 << 20, b"")})
        with path.open("r+b") as stream:  # a hole: bytes that exist and were never written
            stream.truncate(path.stat().st_size + (4 << 20))
    assert torch.equal(read_checkpoint(path).tensors["w"].flatten(), wanted)


@pytest.mark.parametrize("zipped", [True, False])
def test_only_chosen_bytes_are_read(tmp_path, monkeypatch, zipped):
    import edgevit.checkpoints.torch_files as torch_files

    fetched: list[str] = []
    original = torch_files.Contents

    def watched(root: object, fetch: torch_files.Fetch) -> torch_files.Contents:
        def watch(key: str) -> bytearray:
            data = fetch(key)
            fetched.append(f"{key}: {len(data)}")
            return data

        return original(root, watch)

    monkeypatch.setattr(torch_files, "Contents", watched)
    path = tmp_path / "x.pth"
    content = {"optimizer": {"m": torch.ones(1000)}, "state_dict": {"w": torch.ones(10)}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read_checkpoint(path)
    assert [entry.split(": ")[1] for entry in fetched] == ["40"]


def _directory(path: Path) -> None:
    path.mkdir()


def zip_of(*names: str) -> Callable[[Path], None]:
    """A writer of an archive that holds empty files."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"")

    return write


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("x.pth"))


def _oversized(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate((8 << 30) + 1)


STRANGERS = {
    "missing": (lambda path: None, "There is no checkpoint"),
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "directory": (_directory, "is a directory"),
    "pipe": (os.mkfifo, "is not a regular file"),
    "oversized": (_oversized, "is larger than the 8 GiB"),
    "web page": (lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>"), "is a web page"),
    "lfs": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        "git lfs",
    ),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "packed by gzip"),
    "tar": (_tar, "is a tar archive"),
    "text": (lambda path: path.write_text("hello"), "no checkpoint of a kind"),
    "torchscript": (zip_of("net/data.pkl", "net/constants.pkl"), "is a TorchScript archive"),
    "code alone": (zip_of("net/data.pkl", "net/code/__torch__.py"), "is a TorchScript archive"),
    "package": (zip_of("upernet/model.pth"), "with upernet/model.pth in it; unpack it"),
    "deep": (zip_of("a/b/data.pkl"), "with a/b/data.pkl in it; unpack it"),
    "empty zip": (zip_of(), "is a zip archive, but no checkpoint"),
    "other zip": (zip_of("readme.txt"), "is a zip archive, but no checkpoint"),
    "array beside text": (zip_of("w.npy", "readme.txt"), "is a zip archive, but no checkpoint"),
    "header of 8 GiB": (
        lambda path: path.write_bytes((8 << 30).to_bytes(8, "little") + b"{"),
        "no checkpoint of a kind",
    ),
    "header of nearly 8 GiB": (
        lambda path: path.write_bytes(((8 << 30) - 1).to_bytes(8, "little") + b"{"),
        "header is longer than the file",
    ),
    "no tensors by name": (lambda path: save_file({}, path), "holds no tensors"),
    "old pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 0)), "protocol 0 or 1"),
    "number": (lambda path: path.write_bytes(pickle.dumps(3, 4)), "no dictionary of tensors"),
    "no tensors": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 4)), "no tensors under"),
    "trailing": (lambda path: path.write_bytes(pickle.dumps({}, 4) + b"xy"), "2 bytes after"),
    "two roots": (lambda path: path.write_bytes(b"\x80\x02}}."), "not well formed"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_checkpoint_is_named(tmp_path, name):
    write, wanted = STRANGERS[name]
    path = tmp_path / "x.pth"
    write(path)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert wanted in caught.value.message
    assert "x.pth" in caught.value.message
    assert caught.value.next
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(13, "Permission denied"), EnvironmentFailed, "be read: permission denied"),
        (
            OSError(5, "Input/output error"),
            EnvironmentFailed,
            "could not be read: Input/output err",
        ),
        (OSError("odd"), EnvironmentFailed, "could not be read: odd"),
        (MemoryError(), EnvironmentFailed, "needs more memory than there is"),
        (
            ModuleNotFoundError(name="torch"),
            MissingDependency,
            "needs torch, which is not installed",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_system_refuses_is_no_fault_of_the_file(tmp_path, monkeypatch, error, kind, words):
    path = tmp_path / "x.pth"
    path.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(kind, match=words):
        read_checkpoint(path)


def test_names_from_a_file_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02ce\x1b[2Jvil\nmo\x07dule\n.")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert caught.value.message.isprintable()
