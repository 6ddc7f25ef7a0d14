"""Every failure a user can meet, with its exit code and the next command to try.

EdgevitError
├── CheckFailed           1  parity, gate or hash
├── UsageError            2  unknown name, bad file, bad size, output exists
│   ├── CheckpointError      a checkpoint that cannot be read or does not fit
│   ├── BundleError          a bundle that is broken, unsafe or too new
│   └── PictureError         a picture that cannot be read
├── MissingDependency     3  with the exact install line
└── EnvironmentFailed     4  disk, permission, device, timeout
"""

from typing import ClassVar


class EdgevitError(Exception):
    """One clear sentence for the user; `next` is the command that gets them further."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, next: str | None = None) -> None:  # noqa: A002 - the user-facing word
        super().__init__(message)
        self.message = message
        self.next = next


class CheckFailed(EdgevitError):
    """Something was compared and differs: parity, an accuracy gate or a hash."""

    exit_code = 1


class UsageError(EdgevitError):
    """The request names something unknown or is not possible."""

    exit_code = 2


class CheckpointError(UsageError):
    """A checkpoint that cannot be read, is refused, or does not fit the model."""


class BundleError(UsageError):
    """A bundle that is broken, points outside itself, or has a newer schema."""


class PictureError(UsageError):
    """A picture that cannot be decoded or is outside the accepted bounds."""


class MissingDependency(EdgevitError):
    """A package that this command needs is not installed."""

    exit_code = 3


class EnvironmentFailed(EdgevitError):
    """The disk, a permission or a device failed."""

    exit_code = 4
