"""Failures of the export workshop.

ExportError
├── LoweringFailed    1  the exporter could not express the network, or wrote a broken file
├── UnreadableFile    2  a file that is not what its name says
├── TooLarge          2  the file would exceed what its format can hold
├── BadCalibration    2  samples or weights that no ranges can be read from
├── Unsupported       2  this format has no such precision, rank or option
└── MissingPackage    3  with the extra that brings it
"""

from typing import ClassVar


class ExportError(Exception):
    """One clear sentence; `next` is the command that gets the user further."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, next: str | None = None) -> None:  # noqa: A002 - the user-facing word
        super().__init__(message)
        self.message = message
        self.next = next


class LoweringFailed(ExportError):
    """The exporter could not express the network, or wrote a broken file."""


class UnreadableFile(ExportError):
    """A file that is not what its name says."""

    exit_code = 2


class TooLarge(ExportError):
    """The file would exceed what its format can hold."""

    exit_code = 2


class BadCalibration(ExportError):
    """Samples or weights that no ranges can be read from."""

    exit_code = 2


class Unsupported(ExportError):
    """This format has no such precision, rank or option."""

    exit_code = 2


class MissingPackage(ExportError):
    """A package of this format's extra is not installed."""

    exit_code = 3
