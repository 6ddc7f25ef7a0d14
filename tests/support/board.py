"""A board for tests: a real sshd on loopback in a private network, whose programs are ARM's.

Everything is private to namespaces that end with the tests: the network, the mounts (a cpuinfo of
an ARM core, a user `board`), and the rule by which the kernel starts ARM programs through the
emulator (binfmt_misc of a user namespace, Linux 6.7 or newer).
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.setup.emulated import cpuinfo, sysfs
from tests.support.native import need

CORE = CORES["cortex-a77"]
PORT = 2222  # of the board's own network
START_SECS = 20.0

# The first bytes of a little-endian 64-bit ARM program, and which of their bits count.
MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

# What every device of tests has; a device's own words follow.
PRIVATE = """
set -e
ip link set lo up
mount -t binfmt_misc none {folder}/binfmt
printf '%s' ':edgevit:M::{magic}:{mask}:{emulator}:F' > {folder}/binfmt/register
mount --bind {folder}/cpuinfo /proc/cpuinfo
mount --bind {folder}/cpu /sys/devices/system/cpu
mount --bind {folder}/uname /usr/bin/uname
export QEMU_CPU={cpu}
"""
START = """
mount --bind {folder}/passwd /etc/passwd
mount -t tmpfs -o size=6m none {folder}/small
exec unshare -U --map-user=1000 --map-group=1000 {sshd} -D -e -f {folder}/sshd_config
"""
TOOLS = ("qemu-aarch64", "unshare", "nsenter", "ip", "pgrep")
SSHD_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/hostkey
PidFile {folder}/pid
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AcceptEnv TMPDIR
SetEnv QEMU_CPU={cpu}
"""
SSH_CONFIG = """
Host silent
  ProxyCommand sleep 4
Host closed
  Port 1
Host stranger
  UserKnownHostsFile {folder}/none
  StrictHostKeyChecking yes
Host keyless
  IdentityFile {folder}/other
Host full
  SetEnv TMPDIR={folder}/small
Host board
  SetEnv TMPDIR={folder}/tmp
Host board closed stranger keyless full
  HostName 127.0.0.1
Host board closed stranger full
  IdentityFile {folder}/key
Host *
  Port {port}
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile none
"""


@dataclass(frozen=True, slots=True)
class Board:
    """A running board: `ssh:board@NAME` reaches it once `programs` leads PATH."""

    folder: Path
    process: int

    @property
    def programs(self) -> Path:
        """A folder with an `ssh` that is in the board's network."""
        return self.folder / "here"

    def sessions(self) -> list[int]:
        """The processes of sshd that serve a connection."""
        found = subprocess.run(
            ["pgrep", "-f", "^sshd: board"], capture_output=True, text=True, check=False
        )
        return [int(line) for line in found.stdout.split()]

    def drop(self) -> None:
        """Cut every connection, as a board does that loses its power."""
        for process in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextmanager
def private(folder: Path, start: str, ready: str) -> Iterator[int]:
    """A private machine that runs `start` until it says `ready`; the process that is in it."""
    for name in ("binfmt", "here"):
        (folder / name).mkdir()
    (folder / "cpuinfo").write_text(cpuinfo(CORE))
    for name, text in sysfs(CORE).items():
        file = folder / "cpu" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    # The kernel would say what it is; an ARM one says aarch64.
    machine = folder / "uname"
    machine.write_text('#!/bin/sh\nif [ "$1" = -m ]; then echo aarch64; else echo Linux test; fi\n')
    machine.chmod(0o755)
    words = PRIVATE.format(
        folder=folder,
        magic=MAGIC,
        mask=MASK,
        emulator=shutil.which("qemu-aarch64"),
        cpu=CORE.emulated_as,
    )
    log = (folder / "log").open("w")
    process = subprocess.Popen(
        ["unshare", "-Umnpf", "--map-root-user", "--kill-child", "sh", "-c", words + start],
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + START_SECS
        while ready not in (folder / "log").read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("it did not start: " + (folder / "log").read_text())
            time.sleep(0.05)
        inside = subprocess.run(
            ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
        )
        yield int(inside.stdout.split()[0])
    finally:
        process.kill()
        process.wait()
        log.close()


def leads(folder: Path, name: str, inside: int, command: str) -> None:
    """A program in `here` that runs a command in the private machine's network."""
    program = folder / "here" / name
    program.write_text(
        f'#!/bin/sh\nexec nsenter -t {inside} -U -n --preserve-credentials {command} "$@"\n'
    )
    program.chmod(0o755)


@contextmanager
def running(folder: Path) -> Iterator[Board]:
    """Start a board; ends with all its processes. Skips, or fails in CI, without its tools."""
    need(*TOOLS, "ssh", "ssh-keygen")
    sshd = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin")
    if sshd is None:
        need("sshd")
    prepare(folder)
    start = START.format(folder=folder, sshd=sshd)
    with private(folder, start, "Server listening") as inside:
        leads(folder, "ssh", inside, f"{shutil.which('ssh')} -F {folder}/ssh_config")
        yield Board(folder, inside)


def prepare(folder: Path) -> None:
    """Keys, and the configurations of both sides."""
    (folder / "small").mkdir()
    (folder / "tmp").mkdir()
    for name in ("hostkey", "key", "other"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    public = (folder / "hostkey.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{PORT} {public}")
    users = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in users if line.split(":")[2] != "1000"]
    home = f"board:x:1000:1000::{folder}:/bin/sh"
    (folder / "passwd").write_text("\n".join([*others, home]) + "\n")
    settings = SSHD_CONFIG.format(folder=folder, port=PORT, cpu=CORE.emulated_as)
    (folder / "sshd_config").write_text(settings)
    (folder / "ssh_config").write_text(SSH_CONFIG.format(folder=folder, port=PORT))
