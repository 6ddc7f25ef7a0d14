"""Where results are written before they exist: a hidden sibling, renamed when whole, removed when
not.
"""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from edgevit.bundle.manifest import MAX_BYTES
from edgevit.bundle.opened import MANIFEST
from edgevit.errors import EnvironmentFailed, UsageError
from edgevit_export.formats import FORMATS

# What an export writes at the top of a bundle. A directory with anything else in it is somebody's
# work, and is never removed.
OURS = frozenset(
    {MANIFEST, "README.md", "labels.txt", "golden"}
    | {f"model{entry.suffix}" for entry in FORMATS.values()}
)
ELSEWHERE = "-o another-name"
STOPS = (signal.SIGINT, signal.SIGTERM)


def check_destination(path: Path, force: bool) -> None:
    """Refuse a place that cannot take a bundle, before any work is done.

    Raises `UsageError` where something is there already (a bundle needs `force`, anything else is
    never removed), where the place is inside another bundle or is the working directory, and
    `EnvironmentFailed` where nothing can be written.
    """
    place = _absolute(path)
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise UsageError(f"{path} is a file, not a directory for a bundle.", next=ELSEWHERE)
    if Path.cwd().is_relative_to(place.resolve()):
        raise UsageError(
            f"{place} is the directory you are in, which a bundle would replace.",
            next="-o a-name-below-it",
        )
    if place.is_dir() and any(place.iterdir()):
        if not _is_bundle(place):
            raise UsageError(
                f"{path} exists and is not an edgevit bundle;"
                " edgevit never removes such a directory.",
                next=ELSEWHERE,
            )
        if not force:
            raise UsageError(f"{path} holds a bundle already.", next="--force")
        foreign = _foreign(place)
        if foreign is not None:
            raise UsageError(
                f"{path} holds {foreign} beside its bundle; edgevit never removes such a file.",
                next=ELSEWHERE,
            )
    if place.is_dir() and _read_only(place):
        raise EnvironmentFailed(f"{path} is read-only.", next=ELSEWHERE)
    check_writable(place.parent)


def check_writable(directory: Path) -> None:
    """Refuse a directory (or the nearest one above it) that results cannot be written into.

    Raises `UsageError` where it is a file or inside a bundle, which would then hold a file that
    does not belong to it, and `EnvironmentFailed` where writing is not permitted.
    """
    place = _absolute(directory)
    existing = next(p for p in (place, *place.parents) if p.exists() or p.is_symlink())
    if not existing.is_dir():
        raise UsageError(f"{existing} is a file, not a directory.", next=ELSEWHERE)
    for above in (existing, *existing.parents):
        if _is_bundle(above):
            raise UsageError(
                f"{above} is a bundle, and would no longer verify with other files in it.",
                next=ELSEWHERE,
            )
    if not os.access(existing, os.W_OK | os.X_OK) or _read_only(existing):
        raise EnvironmentFailed(f"{existing} cannot be written to.", next=ELSEWHERE)


def check_output_file(path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    An earlier file of that name is no obstacle. Raises as `check_writable` does.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory, not a file.", next=f"-o {path / 'result.json'}")
    if not _absolute(path).parent.exists():
        raise UsageError(f"There is no directory {path.parent}.", next=f"mkdir -p {path.parent}")
    check_writable(path.parent)


@contextlib.contextmanager
def sealed(path: Path, force: bool) -> Iterator[Path]:
    """A directory to write into that becomes `path` when the block ends well, and nothing when it
    does not.

    Parents that were made for it go too. An earlier bundle stays whole until the new one is.
    """
    check_destination(path, force)
    path = _absolute(path)
    created = [p for p in path.parents if not p.exists()]
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        yield partial
        check_destination(path, force)  # an export takes a while: somebody may have been faster
        with uninterrupted():
            _replace(partial, path)
    except BaseException:
        with uninterrupted():
            shutil.rmtree(partial, ignore_errors=True)
            for parent in created:
                with contextlib.suppress(OSError):
                    parent.rmdir()
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write one file to, which becomes `path` when the block ends well: no reader meets
    half a file, and an earlier one stays where the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C off meanwhile: a second, impatient one must not stop the cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python


def _absolute(path: Path) -> Path:
    """The path from the root without `..`, so that its name is its name."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`


def _is_bundle(directory: Path) -> bool:
    """Whether an export wrote this directory; its manifest may be broken, or of another version."""
    manifest = directory / MANIFEST
    if not manifest.is_file():
        return False
    with manifest.open("rb") as stream:
        return b'"edgevit"' in stream.read(MAX_BYTES)  # others have a manifest.json too


def _foreign(directory: Path) -> str | None:
    """A name in a bundle's directory that no export wrote, or None."""
    return next((p.name for p in sorted(directory.iterdir()) if p.name not in OURS), None)


def _read_only(directory: Path) -> bool:
    """Whether the mode bits or the file system forbid writing; os.access says yes to root."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return True
    return not directory.stat().st_mode & 0o222


def _replace(partial: Path, path: Path) -> None:
    """Rename into place; what is there steps aside first and is removed last."""
    aside = path.parent / f".{path.name}.old-{os.getpid()}"
    try:
        if path.exists():
            path.rename(aside)
        partial.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
