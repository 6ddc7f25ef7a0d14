"""A directory that is filled once: made under a hidden name, checked, renamed when it is whole."""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevit_runtimes.errors import BadSetting, DeviceFailed, reason

MARKER = "edgevit-environment.json"  # written last: what holds it was whole once
MARKER_BYTES = 1 << 14

# Settings of the user's pip that would put packages elsewhere, or ask for others.
FOREIGN = (
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_DRY_RUN"),
    *("PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_PLATFORM"),
)

Report = Callable[[str], None]
State = Literal["present", "absent", "broken", "foreign"]
Marker = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is set up: its words for messages, its variable, and when it is complete."""

    name: str  # of the directory
    what: str  # in a sentence: "the environment"
    subject: str  # what is kept there: "tflite-runtime"
    command: str  # that makes it
    variable: str  # of the environment, that names another directory
    complete: Callable[[Path, Marker], bool]

    def home(self, variables: Mapping[str, str] = os.environ) -> Path:
        """The directory: the variable's, or one below the user's data directory.

        Raises `DeviceFailed` for a user without a home directory.
        """
        if variables.get(self.variable):
            return Path(os.path.abspath(variables[self.variable]))  # noqa: PTH100 - Path.absolute keeps `..`
        data = Path(variables.get("XDG_DATA_HOME", ""))
        if not data.is_absolute():  # the XDG rule: a relative path is ignored
            try:
                data = Path.home() / ".local" / "share"
            except RuntimeError:
                raise DeviceFailed(
                    f"This user has no home directory to keep {self.subject} in.",
                    next=f"{self.variable}=DIR {self.command}",
                ) from None
        return data / "edgevit" / self.name

    def look(self, place: Path) -> State:
        """The state of a path: ours (complete or broken), nothing, or foreign files."""
        try:
            if not place.exists() or (place.is_dir() and not any(place.iterdir())):
                return "absent"
            marker = place / MARKER
            if not marker.is_file():
                return "foreign"
            if marker.stat().st_size > MARKER_BYTES:
                return "broken"
            content = json.loads(marker.read_text(encoding="utf-8"))
            whole = isinstance(content, dict) and self.complete(place, content)
        except (OSError, ValueError, RecursionError):
            return "broken"
        return "present" if whole else "broken"

    def find(self) -> Path | None:
        """The directory if it is complete, else None; starts nothing."""
        try:
            place = self.home()
        except DeviceFailed:
            return None
        return place if self.look(place) == "present" else None

    def make(
        self, prepare: Callable[[], Callable[[Path], Marker]], force: bool = False
    ) -> tuple[Path, Literal["made", "found"]]:
        """Fill the directory, or find it filled; `force` makes it again.

        `prepare` refuses what cannot be made before anything is, and returns the function that
        fills an empty directory of a hidden name and returns what the marker says. Raises
        `BadSetting` where something else is at its place, `DeviceFailed` where the disk refuses,
        and what these two raise; then nothing is left, and an earlier directory stays.
        """
        place = self.home()
        if self._is_made(place, force):
            return place, "found"
        fill = prepare()
        partial = hidden(place, "partial")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir()  # by nobody else: nothing that was planted under this name is filled
            try:
                marker = {"schema": 1, **fill(partial)}
                (partial / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
                if self._is_made(place, force):  # filling takes a while: somebody may be faster
                    return place, "found"
                _replace(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        except OSError as error:
            raise DeviceFailed(
                f"{self.what[0].upper()}{self.what[1:]} could not be written to {place}: "
                f"{error.strerror or error}.",
                next=f"{self.variable}=ANOTHER_DIR {self.command}",
            ) from error
        return place, "made"

    def _is_made(self, place: Path, force: bool) -> bool:
        """Whether it is there whole and is to stay; raises `BadSetting` where something is in the
        way.
        """
        state = self.look(place)
        if state == "foreign":
            raise BadSetting(
                f"{place} has files that edgevit did not make; they are never removed.",
                next=f"{self.variable}=ANOTHER_DIR {self.command}",
            )
        if state == "broken" and not force:
            raise BadSetting(
                f"{self.what[0].upper()}{self.what[1:]} in {place} exists but no longer works.",
                next=f"{self.command} --force",
            )
        return state == "present" and not force


def bytes_of(place: Path) -> int:
    """What a directory takes on the disk; links are not followed."""
    files = (p for p in place.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(p.stat().st_size for p in files)


def hidden(place: Path, word: str) -> Path:
    """A name beside `place` that no other process takes, or can tell beforehand.

    Not by process number: two containers on one volume are both process 1.
    """
    return place.parent / f".edgevit.{word}-{secrets.token_hex(8)}"


def _replace(partial: Path, place: Path) -> None:
    """Rename into place; what is there steps aside first, and is removed last."""
    aside = hidden(place, "old")
    try:
        if place.exists():
            place.rename(aside)
        partial.rename(place)
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def run(command: Sequence[str], secs: float, again: str) -> subprocess.CompletedProcess[str]:
    """Run a step without the settings of the user's pip that would lead it elsewhere.

    Raises `DeviceFailed` with the command `again` where it takes longer than `secs`.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=secs,
            env=variables,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceFailed(
            f"Making the environment took longer than {secs:g} s.", next=again
        ) from None


def last(printed: str) -> str:
    """The sentence of a failed command: its first ERROR, else its last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = errors[0] if errors else lines[-1] if lines else "it said nothing"
    return reason(ValueError(line.removeprefix("ERROR:").strip()))
