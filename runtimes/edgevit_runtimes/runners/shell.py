"""A device that takes commands and files: the few words that ssh and adb have in common."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from edgevit_runtimes.errors import DeviceFailed, reason

COMMAND_SECS = 60.0
COPY_SECS = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command on the device printed, and its exit code."""

    code: int
    out: str
    err: str


class Shell(Protocol):
    """Commands and files on one device; every failure of the way there is a `DeviceFailed`."""

    @property
    def name(self) -> str:
        """The device in a sentence."""
        ...

    @property
    def temporary(self) -> str:
        """Its folder of temporary files, as its shell understands it."""
        ...

    def run(self, command: str, secs: float = COMMAND_SECS) -> Answer:
        """Run a shell command there."""
        ...

    def push(self, local: Path, remote: str) -> None:
        """Write a file there."""
        ...

    def pull(self, remote: str, local: Path) -> None:
        """Read a file from there."""
        ...

    def follow(self, command: str, each: Callable[[str], None], secs: float) -> int:
        """Run a command and hand over its lines as they come; its exit code."""
        ...


def started(
    command: Sequence[str],
    secs: float,
    device: str,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program here that reaches a device; raises `DeviceFailed` where it hangs."""
    try:
        return subprocess.run(command, stdin=stdin, capture_output=True, timeout=secs, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceFailed(f"{device} did not answer within {secs:g} s.") from None
    except OSError as error:
        raise DeviceFailed(f"{command[0]} could not be started: {reason(error)}.") from error


def followed(
    command: Sequence[str], each: Callable[[str], None], secs: float, device: str
) -> tuple[int, str]:
    """Run a program here, hand over its lines as they come; its exit code and last words.

    Raises `DeviceFailed` where it takes longer than `secs`; what came until then was handed over.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise DeviceFailed(f"{command[0]} could not be started: {reason(error)}.") from error
    late = threading.Event()

    def stop() -> None:
        late.set()
        process.kill()

    clock = threading.Timer(secs, stop)
    clock.start()
    said: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    errors = process.stderr
    reader = threading.Thread(target=lambda: said.append(errors.read()), daemon=True)
    reader.start()
    try:
        for line in process.stdout:
            each(line.rstrip("\n"))
        code = process.wait()
    finally:
        clock.cancel()
        process.kill()
        process.wait()
        reader.join(5)
        process.stdout.close()
        errors.close()
    if late.is_set():
        raise DeviceFailed(f"{device} did not finish within {secs:g} s.")
    return code, "".join(said)
