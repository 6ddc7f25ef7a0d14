"""Keeps the exporters' chatter off the terminal: it belongs to them, and stdout belongs to the
user's pipe.
"""

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send file descriptors 1 and 2 to a temporary file meanwhile, native libraries' output too.

    The Python-level streams stay what they are: absl and others keep references to whatever they
    find there. Log records are held below CRITICAL, and a library that configures the root logger
    (onnxruntime's quantizers do) leaves it as it was. What a failing exporter says is in its
    exception, not in its chatter.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = logging.root.manager.disable
    handlers, level = logging.root.handlers[:], logging.root.level
    # basicConfig does nothing where there is a handler already.
    logging.root.addHandler(logging.NullHandler())
    logging.disable(logging.ERROR)
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
            logging.disable(before)
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)
