"""Opens a checkpoint of any kind that edgevit reads and runs nothing that is in it."""

import hashlib
import shlex
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from edgevit.checkpoints.archives import Member, read_directory
from edgevit.checkpoints.bounds import (
    FILE_BYTES,
    GIB,
    PLAIN_PICKLE_BYTES,
    Unreadable,
    listed,
    shown,
)
from edgevit.checkpoints.containers import choose, collect_meta, without_parallel
from edgevit.checkpoints.named_arrays import read_npz, read_safetensors
from edgevit.checkpoints.pickles import read_pickle
from edgevit.checkpoints.tensors import materialize
from edgevit.checkpoints.torch_files import MAGIC_BYTES, Contents, read_legacy, read_zip
from edgevit.errors import CheckpointError, EnvironmentFailed, MissingDependency

if TYPE_CHECKING:
    import torch

KINDS = "torch.save files (.pth, .pt), pickles (.pkl), .npz and .safetensors"
HEAD_BYTES = 1024
SAVE_STATE = (
    "python -c \"import torch; m = torch.jit.load({path}, map_location='cpu'); "
    "torch.save(m.state_dict(), 'weights.pth')\""
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a checkpoint, and what is known about where they came from."""

    path: Path
    kind: str  # torch-zip, torch-legacy, pickle, npz or safetensors
    container: (
        str  # the keys under which the tensors lay, joined by dots; "" where they lay at the top
    )
    tensors: Mapping[str, "torch.Tensor"]  # CPU, contiguous, own memory, of the dtypes in the file
    meta: Mapping[str, object]  # small plain values, such as CLASSES and config; see collect_meta
    sha256: str  # of the file


@dataclass(frozen=True, slots=True)
class _Read:
    kind: str
    container: str
    tensors: dict[str, "torch.Tensor"]
    meta: dict[str, object]


def read_checkpoint(
    path: Path | str, prefer: tuple[str, ...] = ("state_dict", "model")
) -> Checkpoint:
    """Read the tensors that lie under the first of `prefer` that is there, or bare at the top.

    No name in the file is imported and nothing in it is run. Storages outside the chosen tensors
    (an optimizer's, say) stay unread. Raises `CheckpointError` with one sentence on every file that
    is missing, cut, oversized, lying, of another kind or with code inside; `EnvironmentFailed`
    where the system does not let us read it; `MissingDependency` without torch.
    """
    path = Path(path)
    try:
        size = _checked_size(path)  # before it is opened: opening a pipe would wait for a writer
        with path.open("rb") as stream:
            read = _read(path, stream, size, prefer)
            stream.seek(0)
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(
            f"There is no checkpoint {shown(path, 200)}.",
            next=f"ls -l {shlex.quote(str(path.parent))}",
        ) from None
    except PermissionError:
        raise EnvironmentFailed(
            f"{shown(path, 200)} cannot be read: permission denied.",
            next=f"ls -l {shlex.quote(str(path))}",
        ) from None
    except OSError as error:
        raise EnvironmentFailed(
            f"{shown(path, 200)} could not be read: {error.strerror or error}.",
            next=f"ls -l {shlex.quote(str(path))}",
        ) from None
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"Reading a checkpoint needs {error.name}, which is not installed.",
            next="pip install 'edgevit[torch]'",
        ) from None
    except MemoryError:
        raise EnvironmentFailed(f"{shown(path, 200)} needs more memory than there is.") from None
    except Unreadable as refusal:
        further = refusal.next or f"ls -l {shlex.quote(str(path))}"
        raise CheckpointError(f"{shown(path.name)} {refusal.why}.", next=further) from None
    return Checkpoint(
        path=path,
        kind=read.kind,
        container=read.container,
        tensors=MappingProxyType(read.tensors),
        meta=MappingProxyType(read.meta),
        sha256=sha256,
    )


def _checked_size(path: Path) -> int:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise Unreadable("is a directory, not a checkpoint")
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable("is not a regular file")
    if not status.st_size:
        raise Unreadable("is empty; download it again")
    if status.st_size > FILE_BYTES:
        raise Unreadable(f"is larger than the {FILE_BYTES // GIB} GiB that edgevit reads")
    return status.st_size


def _read(path: Path, stream: BinaryIO, size: int, prefer: tuple[str, ...]) -> _Read:
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    if head.startswith((b"PK\3\4", b"PK\5\6")):
        return _read_zip(path, stream, size, prefer)
    if head[:1] == b"\x80" and MAGIC_BYTES in head[:32]:
        return _read_contents("torch-legacy", read_legacy(stream, size), size, prefer)
    # A header's length comes first in .safetensors and can look like anything, so this goes before
    # the other kinds are told apart by their first bytes.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < FILE_BYTES:
        return _read_named("safetensors", *read_safetensors(path, size))
    _refuse_other_kinds(path, head)
    if path.suffix == ".safetensors":
        return _read_named("safetensors", *read_safetensors(path, size))
    # Protocol 2 and newer announce themselves; older ones start with a name, mark, dict or list.
    if head[:1] not in (b"\x80", b"c", b"(", b"}", b"]"):
        raise Unreadable(f"is no checkpoint of a kind that edgevit knows: it reads {KINDS}")
    root = read_pickle(stream, size, PLAIN_PICKLE_BYTES)
    if stream.tell() != size:
        raise Unreadable(
            f"holds {size - stream.tell()} bytes after its pickle, which belong to nothing"
        )
    return _read_contents("pickle", Contents(root, _no_storage), size, prefer)


def _no_storage(key: str) -> bytearray:
    raise Unreadable(f"points to a storage {shown(key)} outside its pickle")


def _read_zip(path: Path, stream: BinaryIO, size: int, prefer: tuple[str, ...]) -> _Read:
    members = read_directory(stream, size)
    script = [name for name in members if name.endswith("/constants.pkl") or "/code/" in name]
    if script:
        raise Unreadable(
            "is a TorchScript archive, a program with its weights; save its state dict alone",
            next=SAVE_STATE.format(path=repr(str(path))),
        )
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in members):
        return _read_contents("torch-zip", read_zip(stream, members), size, prefer)
    if members and all(name.endswith(".npy") for name in members):
        return _read_named("npz", read_npz(stream, members), {})
    raise Unreadable(_foreign_zip(members))


def _foreign_zip(members: Mapping[str, Member]) -> str:
    inside = [
        name for name in members if name.endswith((".pth", ".pt", ".pkl", ".tar", ".safetensors"))
    ]
    if inside:
        return f"is a zip archive with {listed(inside, 3)} in it; unpack it and give that file"
    return f"is a zip archive, but no checkpoint: edgevit reads {KINDS}"


def _read_contents(kind: str, contents: Contents, size: int, prefer: tuple[str, ...]) -> _Read:
    choice = choose(contents.root, prefer)
    tensors = materialize(choice.leaves, contents.fetch, size)
    return _Read(kind, ".".join(choice.path), tensors, collect_meta(contents.root, choice))


def _read_named(kind: str, tensors: dict[str, "torch.Tensor"], meta: dict[str, object]) -> _Read:
    if not tensors:
        raise Unreadable("holds no tensors")
    return _Read(kind, "", without_parallel(tensors), meta)


def _refuse_other_kinds(path: Path, head: bytes) -> None:
    """Name the things that are often mistaken for a checkpoint; raises `Unreadable` on those."""
    quoted = shlex.quote(str(path))
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        raise Unreadable(
            "is a web page, not a checkpoint: the download saved the page around the file"
        )
    if text.startswith(b"version https://git-lfs"):
        raise Unreadable(
            "is a pointer that git-lfs left in place of the file; run git lfs pull",
            next="git lfs pull",
        )
    if head.startswith(b"\x1f\x8b"):
        raise Unreadable("is packed by gzip; unpack it first", next=f"gunzip --keep {quoted}")
    if head[257:262] == b"ustar":
        raise Unreadable(
            "is a tar archive; unpack it and give the checkpoint in it", next=f"tar -xf {quoted}"
        )
