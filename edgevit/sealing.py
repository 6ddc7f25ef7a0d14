"""Where a bundle is written before it exists: a hidden sibling, renamed when whole, removed when not."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgevit.bundle import MANIFEST
from edgevit.errors import EnvironmentFailed, UsageError


def check_destination(path: Path, force: bool) -> None:
    """Refuse a place that cannot take a bundle, before any work is done.

    Raises `UsageError` where something is there already (a bundle needs `force`, anything else is never removed) and
    `EnvironmentFailed` where nothing can be written.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UsageError(f"{path} is a file, not a directory for a bundle.", next="-o another-name")
    if path.is_dir() and any(path.iterdir()):
        if not (path / MANIFEST).is_file():
            raise UsageError(
                f"{path} exists and is not an edgevit bundle; edgevit never removes such a directory.",
                next="-o another-name",
            )
        if not force:
            raise UsageError(f"{path} holds a bundle already.", next="add --force to replace it")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir():
        raise UsageError(f"{parent} is a file, not a directory.", next="-o another-name")
    if not os.access(parent, os.W_OK | os.X_OK) or _read_only(parent):
        raise EnvironmentFailed(f"{parent} cannot be written to.", next="-o another-name")


def _read_only(directory: Path) -> bool:
    """Whether the mode bits or the file system forbid writing; root is bound by neither of os.access's answers."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return True
    return not directory.stat().st_mode & 0o222


@contextlib.contextmanager
def sealed(path: Path, force: bool) -> Iterator[Path]:
    """A directory to write into that becomes `path` when the block ends well, and nothing when it does not."""
    check_destination(path, force)
    created = [
        p for p in (path.absolute().parent, *path.absolute().parent.parents) if not p.exists()
    ]
    partial = path.absolute().parent / f".{path.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        yield partial
        _replace(partial, path.absolute())
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for parent in created:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _replace(partial: Path, path: Path) -> None:
    """Rename into place; an older bundle steps aside first and is removed last."""
    aside = path.parent / f".{path.name}.old-{os.getpid()}"
    existed = path.exists()
    if existed:
        path.rename(aside)
    try:
        partial.rename(path)
    except BaseException:
        if existed:
            aside.rename(path)
        raise
    if existed:
        shutil.rmtree(aside, ignore_errors=True)
