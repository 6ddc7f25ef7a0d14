"""What several tests read is made once a run, whichever process asks first."""

import fcntl
import os
import pickle
import stat
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from edgevit_export.artifact import content_sha256

T = TypeVar("T")
WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
CHANGED = "tests changed what they share, so later tests may have read something else: "


class NotMade(Exception):
    """Making failed, here or in another process; the reason is the message."""


class Shared:
    """A directory of results by name, which the processes of one run have in common.

    A result is a folder that `make` filled, what it returned, and a hash of the folder. One process
    makes it and the others wait at its lock file; a lock ends with its process, so none waits for
    the dead. What failed is not tried again: everybody who asks gets the reason.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def __call__(self, name: str, make: Callable[[Path], T]) -> T:
        """What `make(folder)` returned; its files are read only."""
        with self._locked(name):
            done, failed = self._beside(name, "done"), self._beside(name, "failed")
            if not done.exists() and not failed.exists():
                # Stays where the process dies, and goes when the reason is known.
                failed.write_text(f"the process that made {name} ended in the middle")
                self._make(name, make)
            if failed.exists():
                raise NotMade(failed.read_text())
            value: T = pickle.loads(done.read_bytes())
            return value

    def changed(self) -> list[str]:
        """The names of results whose files are no longer those that were made."""
        return [
            sealed.stem
            for sealed in sorted(self.root.glob("*.sha256"))
            if content_sha256(self.root / sealed.stem) != sealed.read_text()
        ]

    def _make(self, name: str, make: Callable[[Path], T]) -> None:
        folder = self.root / name
        folder.mkdir()
        try:
            value = pickle.dumps(make(folder))
        except Exception:
            self._beside(name, "failed").write_text(f"{name}:\n{traceback.format_exc()}")
            return
        for path in folder.rglob("*"):
            # Directories stay writable, for whoever removes them.
            if path.is_file():
                path.chmod(path.stat().st_mode & ~WRITE)
        self._beside(name, "sha256").write_text(content_sha256(folder))
        self._beside(name, "done").write_bytes(value)
        self._beside(name, "failed").unlink()

    def _beside(self, name: str, kind: str) -> Path:
        return self.root / f"{name}.{kind}"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with self._beside(name, "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def writable(folder: Path) -> Path:
    """Makes a copy of something read only writable, and returns it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
    return folder


def root_of_run(base: Path, *, worker: bool) -> Path:
    """Where a run's results lie: in the temporary directory of the one process or of all workers.

    The runner of mutants names one, so that what it needs is made once for all of its runs.
    """
    named = os.environ.get("EDGEVIT_TESTS_SHARE")
    if named:
        return Path(named)
    return (base.parent if worker else base) / "shared"
