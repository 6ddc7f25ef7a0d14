"""An opened bundle: its manifest, its files, and the check that nothing in it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from edgevit.bundle.manifest import MAX_BYTES, FileEntry, Manifest, Member, broken, parse
from edgevit.errors import BundleError, CheckFailed, UsageError
from edgevit_export.artifact import content_sha256, content_size
from edgevit_runtimes.engines import engine_named

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A directory that `edgevit export` sealed."""

    path: Path
    manifest: Manifest

    def entry(self, format: str | None = None) -> FileEntry:  # noqa: A002 - a file format, as everywhere
        """The file of this format, or the first that runs here; raises `UsageError`."""
        files = self.manifest.files
        if format is None:
            runnable = [f for f in files if f.verification.status == "executed"]
            return (runnable or files)[0]
        for file in files:
            if file.format == format or (format == "tflite" and file.format == "litert"):
                return file
        raise UsageError(
            f"The bundle has no {format} file; it has {', '.join(f.format for f in files)}.",
            next=f"--format {files[0].format}",
        )

    def entries(self, formats: Sequence[str] = (), engine: str | None = None) -> list[FileEntry]:
        """The files of these formats, or all; of those, the ones that the named runtime opens.

        Raises `UsageError` for a format that is not there, and where nothing is left.
        """
        files = [self.entry(name) for name in formats] or list(self.manifest.files)
        if engine is None:
            return files
        suffixes = engine_named(engine).suffixes
        opened = [file for file in files if PurePosixPath(file.path).suffix in suffixes]
        if not opened:
            raise UsageError(
                f"{engine} opens {', '.join(suffixes)} files, but the bundle has"
                f" {', '.join(file.path for file in files)}.",
                next="the same command without --runtime",
            )
        return opened

    def checked(self, member: FileEntry | Member) -> Path:
        """The path of a file whose size and hash were just checked.

        Raises `BundleError` where it is missing or a link, `CheckFailed` where it was changed.
        """
        path = self.path / member.path
        if any(p.is_symlink() for p in (path, *path.parents) if self.path in p.parents):
            raise broken(f"{member.path} is a symbolic link")
        if path.is_dir() and any(p.is_symlink() for p in path.rglob("*")):
            raise broken(f"{member.path} holds a symbolic link")
        if not path.exists():
            raise BundleError(
                f"{member.path} is missing in the bundle.", next="export it again, or copy it whole"
            )
        if content_size(path) != member.size or content_sha256(path) != member.sha256:
            raise CheckFailed(
                f"{member.path} is not the file that was sealed: its hash differs.",
                next="export it again, or copy it again from its source",
            )
        return path

    def check(self) -> None:
        """Check every file of the bundle, and that there is no other; raises as `checked` does."""
        members: tuple[FileEntry | Member, ...] = (*self.manifest.files, *self.manifest.members)
        for member in members:
            self.checked(member)
        known = [self.path / member.path for member in members] + [self.path / MANIFEST]
        for path in sorted(self.path.rglob("*")):
            inside = path.is_dir() and not path.is_symlink()
            if not inside and not any(path == k or k in path.parents for k in known):
                raise CheckFailed(
                    f"{path.relative_to(self.path)} does not belong to the bundle.",
                    next="remove it, or export again",
                )

    def golden(self, name: str) -> NDArray[np.generic]:
        """An array of `golden/` by its file name, checked; raises as `checked` does."""
        path = f"golden/{name}.npy"
        for member in self.manifest.members:
            if member.path == path:
                try:
                    # Mapped first: a header that promises more than the file holds is refused
                    # before memory is taken for it.
                    mapped = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]  # numpy's own gap
                        self.checked(member), mode="r"
                    )
                except (ValueError, TypeError, EOFError):
                    raise broken(f"{path} is no array") from None
                return np.array(mapped)
        raise broken(f"it has no {path}")


def open_bundle(path: Path | str) -> Bundle:
    """Open a bundle directory and read its manifest; files are checked when they are used.

    Raises `BundleError` where it is no bundle, is broken, points outside itself or has a newer
    schema, and `CheckFailed` where its manifest was changed.
    """
    path = Path(path)
    manifest = path / MANIFEST
    if not path.exists():
        raise BundleError(f"There is no bundle at {path}.", next="edgevit export MODEL -o DIR")
    if not path.is_dir() or not manifest.is_file() or manifest.is_symlink():
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST}.", next="edgevit export MODEL -o DIR"
        )
    if manifest.stat().st_size > MAX_BYTES:
        raise broken(f"{MANIFEST} is larger than {MAX_BYTES >> 20} MiB")
    try:
        text = manifest.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise broken(f"{MANIFEST} is not text") from None
    return Bundle(path, parse(text))
