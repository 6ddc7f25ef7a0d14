"""Where results are written before they exist: a hidden sibling, renamed when whole, removed when
not.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgevit.bundle.manifest import MAX_BYTES
from edgevit.bundle.opened import MANIFEST, open_bundle
from edgevit.errors import BundleError, CheckFailed, EnvironmentFailed, UsageError
from edgevit_export.formats import FORMATS

# What an export writes at the top of a bundle. A directory with anything else in it is somebody's
# work, and is never removed.
OURS = frozenset(
    {MANIFEST, "README.md", "labels.txt", "golden"}
    | {f"model{entry.suffix}" for entry in FORMATS.values()}
)
# What coremltools writes into a package, of which a manifest knows one hash and no names.
PACKAGE = (
    "Manifest.json",
    "Data/com.apple.CoreML/model.mlmodel",
    "Data/com.apple.CoreML/weights/weight.bin",
)
ELSEWHERE = "-o another-name"
HIDDEN = ".edgevit."  # of names that stand for a moment
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
            f"{place} is the current directory; a bundle would replace it.",
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
                f"{path} contains {foreign}, which is not part of the bundle; edgevit never removes"
                " such a file.",
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

    Parents that were made for it go too. An earlier bundle stays whole until the new one is, and
    until the reader has opened the new one: raises `UsageError` where it does not.
    """
    check_destination(path, force)
    path = _absolute(path)
    undo = contextlib.ExitStack()  # of what this process made, and of nothing else
    try:
        with uninterrupted():
            partial = _made(path, undo)
        yield partial
        _check_readable(partial)
        check_destination(path, force)  # an export takes a while: somebody may have been faster
        with uninterrupted():
            _replace(partial, path)
    except BaseException:
        with uninterrupted():
            undo.close()
        raise


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write one file to, which becomes `path` when the block ends well: no reader meets
    half a file, and an earlier one stays where the disk is full.
    """
    partial = _hidden(path, "partial")
    # Created here and by nobody else: a link that was planted under this name is not followed.
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
    """A name in a bundle's directory that no export wrote, or None.

    A file is ours where the manifest lists it or is a part of a package that it lists, a directory
    where it leads to one. Where the manifest cannot be read, names alone must do.
    """
    ours = {directory / name for name in _listed(directory)}
    leading = {parent for file in ours for parent in file.parents}
    for place, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted((*folders, *files)):
            path = Path(place, name)
            known = leading if path.is_dir() and not path.is_symlink() else ours
            if path not in known or path.is_symlink():
                return path.relative_to(directory).as_posix()
    return None


def _listed(directory: Path) -> set[str]:
    """The files that a bundle's manifest lists, or where it cannot be read, those that exports
    write; packages by their parts.
    """
    try:
        with (directory / MANIFEST).open("rb") as stream:
            content = json.loads(stream.read(MAX_BYTES))
        entries: list[Any] = [*content["files"], *content["members"]]
        listed = {MANIFEST, *(str(entry["path"]) for entry in entries)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        golden = (f"golden/{path.name}" for path in (directory / "golden").glob("*.npy"))
        listed = {*(OURS - {"golden"}), "golden/picture.png", *golden}
    packages = {name for name in listed if PurePosixPath(name).suffix == ".mlpackage"}
    return (listed - packages) | {f"{name}/{part}" for name in packages for part in PACKAGE}


def _check_readable(partial: Path) -> None:
    """Raise `UsageError` where a bundle that is to be sealed could not be opened again."""
    if not (partial / MANIFEST).exists():
        return  # no bundle: of what else is written this way nothing is asked
    try:
        open_bundle(partial)
    except (BundleError, CheckFailed) as error:
        why = error.message.rstrip(".").removeprefix("The bundle is broken: ")
        raise UsageError(
            f"Nothing was sealed, because no command could open the bundle: {why}.",
            next="--labels NAMES.txt, with shorter names",
        ) from error
    foreign = _foreign(partial)
    if foreign is not None:
        raise UsageError(f"Nothing was sealed: {foreign} is not in its manifest.", next=ELSEWHERE)


def _read_only(directory: Path) -> bool:
    """Whether the mode bits or the file system forbid writing; os.access says yes to root."""
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return True
    return not directory.stat().st_mode & 0o222


def _hidden(path: Path, word: str) -> Path:
    """A name beside `path` that no other process takes, or can tell beforehand.

    Not by process number: two containers on one volume are both process 1. Short, so that it fits
    wherever the name itself does.
    """
    return path.parent / f"{HIDDEN}{word}-{secrets.token_hex(8)}"


def _made(path: Path, undo: contextlib.ExitStack) -> Path:
    """A new hidden directory beside `path`, and the parents that are missing."""

    def remove(parent: Path) -> None:
        with contextlib.suppress(OSError):  # others use it by then
            parent.rmdir()

    for parent in reversed([p for p in path.parents if not p.exists()]):
        with contextlib.suppress(FileExistsError):  # somebody else made it meanwhile
            parent.mkdir()
            undo.callback(remove, parent)
    partial = _hidden(path, "partial")
    partial.mkdir()
    undo.callback(shutil.rmtree, partial, ignore_errors=True)
    return partial


def _replace(partial: Path, path: Path) -> None:
    """Rename into place; what is there steps aside first and is removed last."""
    aside = _hidden(path, "old")
    try:
        if path.exists():
            path.rename(aside)
        partial.rename(path)
    except BaseException:
        if aside.exists() and not path.exists():
            aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)
