"""What every reader returns: the contents of one exported file, without running it."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgevit_export.artifact import TensorSpec


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An operation that runs outside the delegate, how often, and why it was not taken."""

    op: str
    count: int
    reason: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """The contents of one exported file."""

    format: str
    size: int  # bytes on the disk
    weight_bytes: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ops: Mapping[str, int]  # operation -> how often, delegated ones included where the file tells
    delegated_subgraphs: int | None = None  # None: this format has no delegate inside the file
    left_out: tuple[LeftOut, ...] = ()
    facts: Mapping[str, str | int] | None = None  # e.g. opset, ir version, spec version
