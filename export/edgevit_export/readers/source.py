"""The border where bytes come in: sizes bounded, every failure one sentence, names printable."""

import math
import mmap
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgevit_export.errors import UnreadableFile

MAX_BYTES = 4 << 30
MAX_NAME = 200  # characters of a name that come into a report


class MalformedError(ValueError):
    """What a file says about itself cannot be true; turned into `UnreadableFile` at the border."""


@contextmanager
def opened(path: Path, kind: str, limit: int = MAX_BYTES) -> Iterator[mmap.mmap]:
    """Map a regular file read-only for the time of the block; `kind` completes "is not ...".

    Raises `UnreadableFile`, also for every `MalformedError` and `OSError` that the block lets out.
    """
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise UnreadableFile(f"{path} is not a regular file.")
        if facts.st_size == 0:
            raise UnreadableFile(f"{path} is empty.")
        if facts.st_size > limit:
            raise UnreadableFile(
                f"{path} has {facts.st_size:,} bytes; {kind} of more than {limit:,} is not opened."
            )
        with (
            path.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            yield data
    except MalformedError as error:
        raise UnreadableFile(f"{path} is not {kind} that can be read: {error}.") from error
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}.") from error


def printable(text: str) -> str:
    """A name from a file, safe to print: control characters replaced, length bounded."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MAX_NAME])
    return shown + "…" if len(text) > MAX_NAME else shown


def packed_bytes(shape: tuple[int, ...], bits: int) -> int:
    """Bytes that a dense tensor takes with `bits` an element; raises `MalformedError`."""
    if any(size < 0 for size in shape):
        raise MalformedError("a constant has a negative size")
    return (math.prod(shape) * bits + 7) // 8


def add(counts: dict[str, int], name: str, times: int = 1) -> None:
    """Count one more operation of this name."""
    counts[name] = counts.get(name, 0) + times


def most_frequent_first(counts: dict[str, int]) -> dict[str, int]:
    """The same counts in a fixed order: frequency, then name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
