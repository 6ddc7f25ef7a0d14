"""Where this machine multiplies bytes otherwise than a phone does."""

import platform
from pathlib import Path

import pytest

from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.engines import chosen, open_session
from edgevit_runtimes.runners import emulated
from edgevit_runtimes.session import Session
from edgevit_runtimes.setup.emulated import EMULATOR, find_emulated
from tests.support.native import need


def overflows() -> bool:
    """Whether this machine is x86 without VNNI."""
    flags = machine_facts()["cpu_flags"]
    found = set(flags) if isinstance(flags, list) else set()
    return platform.machine() == "x86_64" and not {"avx512_vnni", "avx_vnni"} & found


def open_exact(path: Path, integers: bool) -> Session:
    """A session whose arithmetic is the file's own; `integers`: it has static int8 products.

    On x86 without VNNI, ONNX Runtime adds products of bytes up in 16 bits, which overflow (its
    guide on quantization says so): such a file is judged on an emulated ARM core there.
    """
    if path.suffix != ".onnx" or not integers or not overflows():
        return open_session(path)
    if find_emulated() is None:
        need(EMULATOR)  # which fails where CI runs
        pytest.skip("x86 without VNNI, and no emulated ARM core: `make emulated`")
    return emulated.open_(path, chosen(path, None), "cortex-a77")
