"""One exported file: what its backend says of it, and what `lower` stamps on it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Layout = Literal["NCHW", "NHWC", "any"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a file: its name there, fixed shape, numpy dtype name, layout."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: Layout = "any"


@dataclass(frozen=True, slots=True)
class Contents:
    """The description that a backend gives of a file it has written."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    facts: Mapping[str, str | int] = field(default_factory=dict)  # e.g. opset, delegate subgraphs


@dataclass(frozen=True, slots=True)
class Artifact:
    """One exported file (or package directory), as it lies on the disk."""

    format: str
    path: Path
    precision: str
    size: int  # bytes
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tools: Mapping[str, str]  # package -> version that took part in writing it
    facts: Mapping[str, str | int] = field(default_factory=dict)  # as of `Contents`, and counts


def content_size(path: Path) -> int:
    """Bytes of a file, or of all files below a package directory."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(p.stat().st_size for p in files)


def content_sha256(path: Path) -> str:
    """Hex sha256 of a file; of a package directory, over each file's relative name and own hash,
    sorted.

    Symbolic links are never followed: a package that holds one is refused by whoever opens it.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for member in sorted(p for p in path.rglob("*") if p.is_file() and not p.is_symlink()):
        with member.open("rb") as stream:
            inner = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{member.relative_to(path).as_posix()}\0{inner}\n".encode())
    return digest.hexdigest()
