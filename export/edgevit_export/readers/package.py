"""An .mlpackage as a directory nobody vouches for: no links, no way out, weights where they belong.

Manifest: ModelPackage format 1.0.0 (coremltools, modelpackage/src/ModelPackage.cpp). Weights: blob
storage format 2 (coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp).
"""

import json
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgevit_export.errors import UnreadableFile
from edgevit_export.readers.source import MAX_BYTES, MalformedError, opened, printable

KIND = "a Core ML package"
MAX_MEMBERS = 1000  # files and folders of one package; coremltools writes some six
MAX_MANIFEST = 1 << 20
MODEL_PATH = "@model_path/"  # in a program: the folder of the model file
SENTINEL = 0xDEADBEEF


@dataclass(frozen=True, slots=True)
class Package:
    """A checked package: its model file, and the bytes of all its files."""

    path: Path
    model: Path
    size: int


def open_package(path: Path) -> Package:
    """Check a package's directory and manifest; raises `UnreadableFile`."""
    try:
        size = _check_members(path)
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}.") from error
    with opened(path / "Manifest.json", "the manifest of a Core ML package", MAX_MANIFEST) as data:
        root = _root_item(data[:])
    model = path / "Data" / root
    if not model.is_file():
        raise UnreadableFile(
            f"{path} is not {KIND} that can be read: its manifest names {printable(str(root))!r}, "
            "which is no file in it."
        )
    return Package(path=path, model=model, size=size)


def _check_members(path: Path) -> int:
    """Bytes of all files; only plain files and folders may be inside, and not endlessly many."""
    if not stat.S_ISDIR(path.stat().st_mode):
        raise UnreadableFile(f"{path} is not a directory, as {KIND} is.")
    size, members, pending = 0, 0, [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                members += 1
                facts = entry.stat(follow_symlinks=False)
                name = printable(str(Path(entry.path).relative_to(path)))
                if stat.S_ISDIR(facts.st_mode):
                    pending.append(Path(entry.path))
                elif not stat.S_ISREG(facts.st_mode):
                    what = "symbolic link" if stat.S_ISLNK(facts.st_mode) else "special file"
                    raise UnreadableFile(f"{path} holds the {what} {name!r}; it is not opened.")
                else:
                    size += facts.st_size
                if members > MAX_MEMBERS or size > MAX_BYTES:
                    raise UnreadableFile(
                        f"{path} has more than {MAX_MEMBERS:,} members or {MAX_BYTES:,} bytes; "
                        "it is not opened."
                    )
    return size


def _root_item(raw: bytes) -> PurePosixPath:
    """The model file's path below Data/; every item's path is checked."""
    try:
        manifest = json.loads(raw)
    except (ValueError, RecursionError):
        raise MalformedError("it is no JSON") from None
    items = manifest.get("itemInfoEntries") if isinstance(manifest, dict) else None
    if not isinstance(items, dict):
        raise MalformedError("it lists no items")
    paths = {key: _inner_path(item) for key, item in items.items()}
    root = manifest.get("rootModelIdentifier")
    if not isinstance(root, str) or root not in paths:
        raise MalformedError("it names no model among its items")
    return paths[root]


def _inner_path(item: object) -> PurePosixPath:
    text = item.get("path") if isinstance(item, dict) else None
    if not isinstance(text, str):
        raise MalformedError("an item has no path")
    return inner_path(text)


def inner_path(text: str) -> PurePosixPath:
    """A relative path that stays below where it starts; raises `MalformedError`."""
    path = PurePosixPath(text)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise MalformedError(f"the path {printable(text)!r} leads out of the package")
    return path


class Blobs:
    """The weights a program refers to: collected while it is read, measured at the end."""

    __slots__ = ("_folder", "_offsets")

    def __init__(self, package: Package) -> None:
        self._folder = package.model.parent
        self._offsets: dict[PurePosixPath, set[int]] = {}

    def collect(self, name: str, offset: int) -> None:
        """Note one reference to a weight; raises `MalformedError` where it leads out."""
        if not name.startswith(MODEL_PATH):
            raise MalformedError(f"the weight file {printable(name)!r} lies outside of the package")
        path = inner_path(name.removeprefix(MODEL_PATH))
        self._offsets.setdefault(path, set()).add(offset)

    def weight_bytes(self) -> int:
        """Bytes of all weights referred to, each once; raises `UnreadableFile`."""
        total = 0
        for name, offsets in sorted(self._offsets.items()):
            with opened(self._folder / name, "the weight file of a Core ML package") as data:
                total += sum(_blob_bytes(data[at : at + 24], len(data)) for at in offsets)
        return total


def _blob_bytes(header: bytes, end: int) -> int:
    """Bytes of one weight by its header: sentinel, data type, size, position of the data."""
    if len(header) < 24:
        raise MalformedError("it ends before a weight of the program does")
    sentinel, _, size, start = struct.unpack("<IIQQ", header)
    if sentinel != SENTINEL or start + size > end:
        raise MalformedError("it does not hold the weights that the program names")
    return int(size)
