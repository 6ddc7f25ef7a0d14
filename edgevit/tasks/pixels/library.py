"""Finds and loads the C core (runtimes/native/core); needs no numpy.

`make native` builds it and puts the library beside this file; EDGEVIT_CORE names another one. It
is code, and trusted as the rest of the package is.
"""

import ctypes
import os
from pathlib import Path

from edgevit.errors import EnvironmentFailed

VERSION = 1  # EDGEVIT_CORE_VERSION of the header whose structs core.py spells
VARIABLE = "EDGEVIT_CORE"
LIBRARY = Path(__file__).with_name("libedgevit_core.so")


def found() -> Path | None:
    """The library that EDGEVIT_CORE names, or the one beside this file; None where neither is."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    return LIBRARY if LIBRARY.is_file() else None


def load(path: Path) -> ctypes.CDLL:
    """Load it; raises `EnvironmentFailed` where it is no such library, or of another version."""
    try:
        library = ctypes.CDLL(str(path))
        version = library.edgevit_core_version()
    except (OSError, AttributeError) as error:
        raise EnvironmentFailed(
            f"{path.name} cannot be loaded ({str(error).splitlines()[0]}).", next="make native"
        ) from None
    if version != VERSION:
        raise EnvironmentFailed(
            f"{path.name} has version {version} of the core, and {VERSION} is needed.",
            next="make native",
        )
    library.edgevit_status_text.restype = ctypes.c_char_p
    library.edgevit_core_kernels.restype = ctypes.c_char_p
    return library


def kernels(library: ctypes.CDLL) -> str:
    """The kernels that were compiled: "neon" or "scalar"."""
    return str(library.edgevit_core_kernels().decode())
