"""Failures of the runtimes workshop.

RuntimesError
├── RunFailed         1  the runtime refused the file or failed while running it
├── BadSetting        2  a thread count, a number of runs or a time that cannot be asked for
├── UnknownEngine     2  no such engine, or the file's suffix names none
├── UnknownDevice     2  no such device
├── MissingRuntime    3  with the extra that brings it
└── DeviceFailed      4  lost, busy, timed out, or not this operating system
"""

from typing import ClassVar


class RuntimesError(Exception):
    """One clear sentence; `next` is the command that gets the user further."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, next: str | None = None) -> None:  # noqa: A002 - the user-facing word
        super().__init__(message)
        self.message = message
        self.next = next


class RunFailed(RuntimesError):
    """The runtime refused the file or failed while running it."""


class BadSetting(RuntimesError):
    """A thread count, a number of runs or a time that is not possible."""

    exit_code = 2


class UnknownEngine(RuntimesError):
    """No such engine, or the file's suffix names none."""

    exit_code = 2


class UnknownDevice(RuntimesError):
    """No such device."""

    exit_code = 2


class MissingRuntime(RuntimesError):
    """A package that an engine needs is not installed."""

    exit_code = 3


class DeviceFailed(RuntimesError):
    """A device was lost, is busy, timed out, or this operating system has none."""

    exit_code = 4


def reason(error: BaseException) -> str:
    """The first line of somebody else's error, at most 200 characters, to quote in our sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = " ".join(lines[0].split()).rstrip(".") if lines else type(error).__name__
    return first if len(first) <= 200 else first[:197] + "..."
