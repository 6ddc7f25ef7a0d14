"""Keeps native libraries off the terminal while a package is imported or a file is loaded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDERR = 2


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what the process writes to file descriptor 2 meanwhile, past Python's `sys.stderr`.

    Native code (XNNPACK, ExecuTorch, TensorFlow) writes there. `sys.stderr` itself is left in
    place: libraries keep a reference to it when they are imported. The redirection is global, so
    what another thread writes meanwhile is dropped too: use it around a load, never around a run.
    Where descriptor 2 is closed there is nothing to keep quiet.
    """
    try:
        kept = os.dup(STDERR)
    except OSError:
        yield
        return
    _flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STDERR)
    os.close(nowhere)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, STDERR)
        os.close(kept)


def _flush() -> None:
    # sys.stderr is None without a terminal on Windows, and closed by some programs that embed us.
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
