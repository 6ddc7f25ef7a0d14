"""A phone for tests: a real adbd on loopback in a private network, whose programs are ARM's.

adbd is a root shell without a password. It runs as root of a user namespace, in a network of its
own, and cannot open the sockets to a hypervisor (vsock) that no network namespace keeps in.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.board import TOOLS, leads, private
from tests.support.native import need

HOME = "EDGEVIT_ADBD_HOME"  # where scripts/fetch_adbd.py put them
DEFAULT = Path(__file__).resolve().parents[2] / ".venv" / "adbd"
PORT = 6660  # beyond those that adb itself looks for phones at
SERIAL = f"127.0.0.1:{PORT}"

WITHOUT_VSOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
int socket(int family, int type, int protocol) {
  static int (*next)(int, int, int);
  if (family == 40) { errno = EAFNOSUPPORT; return -1; }
  if (!next) next = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  return next(family, type, protocol);
}
"""
START = """
mount -t tmpfs -o size=60m none {folder}/data
export ADBD_PORT={port} HOME={folder}/home LD_LIBRARY_PATH={libraries}
export LD_PRELOAD={folder}/without_vsock.so
exec {tools}/adbd
"""


@dataclass(frozen=True, slots=True)
class PhoneHere:
    """A running phone: `adb:SERIAL` reaches it once `programs` leads PATH."""

    folder: Path

    @property
    def programs(self) -> Path:
        """A folder with an `adb` that is in the phone's network."""
        return self.folder / "here"

    @property
    def temporary(self) -> str:
        """What /data/local/tmp is on a real one."""
        return str(self.folder / "data")

    def adb(self, *words: str) -> str:
        """What adb prints."""
        done = subprocess.run(
            [self.programs / "adb", *words], capture_output=True, text=True, timeout=30, check=False
        )
        return done.stdout + done.stderr


@contextmanager
def running(folder: Path) -> Iterator[PhoneHere]:
    """Start a phone; ends with all its processes. Skips where adbd was not fetched."""
    need(*TOOLS, "cc", "ss")
    root = Path(os.environ.get(HOME, DEFAULT)) / "root"
    tools = root / "usr/lib/android-sdk/platform-tools"
    if not (tools / "adbd").is_file():
        pytest.skip("adbd: not fetched here (python scripts/fetch_adbd.py .venv/adbd)")
    for name in ("data", "home"):
        (folder / name).mkdir()
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-xc", "-o", folder / "without_vsock.so", "-"],
        input=WITHOUT_VSOCK,
        text=True,
        check=True,
    )
    shared = root / "usr/lib/x86_64-linux-gnu"
    libraries = f"{shared}:{shared}/android"
    start = START.format(folder=folder, port=PORT, libraries=libraries, tools=tools)
    with private(folder, start, "adbd started") as inside:
        command = f"env HOME={folder}/home LD_LIBRARY_PATH={libraries} {tools}/adb"
        leads(folder, "adb", inside, command)
        phone = PhoneHere(folder)
        try:
            connected = phone.adb("connect", SERIAL)
            assert "connected to" in connected, connected
            listening = subprocess.run(
                ["ss", "-l", "--vsock"], capture_output=True, text=True, check=False
            )
            assert str(PORT) not in listening.stdout  # though it logs that it would
            yield phone
        finally:
            phone.adb("kill-server")
