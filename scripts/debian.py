"""Debian packages into a folder: from the mirror that this machine's apt uses, by apt's own
signatures, through a private configuration. Nothing is installed.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

RELEASE, BACKPORTS = "bookworm", "bookworm-backports"
APT = Path("/etc/apt")
KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEB822 = re.compile(r"^URIs:\s*(\S+)", re.MULTILINE)
ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+bookworm\s", re.MULTILINE)


class NotToBeHad(Exception):
    """Why, in one sentence."""


def mirror() -> str:
    """Where this machine's apt takes Debian 12 from."""
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").is_file() else ""
    if f"VERSION_CODENAME={RELEASE}" not in release:
        raise NotToBeHad("its packages are Debian 12's, and this is no Debian 12")
    files = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]
    for file in files:
        text = file.read_text(errors="replace") if file.is_file() else ""
        text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
        if found := DEB822.search(text) or ONE_LINE.search(text):
            return found[1]
    raise NotToBeHad("apt's configuration names no mirror of Debian")


def unpack(packages: Sequence[str], folder: Path, architecture: str | None = None) -> None:
    """Download packages (`name`, or `name/bookworm-backports`) and unpack them below `folder`/root.

    architecture: Debian's name of another one than this machine's. Raises `NotToBeHad`.
    """
    root = folder / "apt"
    for name in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    here = mirror()
    suites = [RELEASE, *([BACKPORTS] if any("/" in package for package in packages) else [])]
    lines = [f"deb [signed-by={KEY}] {here} {suite} main\n" for suite in suites]
    (root / "etc/apt/sources.list").write_text("".join(lines))
    apt = ["apt-get", "-qq", "-o", f"Dir={root}", "-o", "APT::Sandbox::User=root"]
    apt += ["-o", f"Dir::State::status={root}/var/lib/dpkg/status"]
    if architecture is not None:
        apt += ["-o", f"APT::Architecture={architecture}"]
        apt += ["-o", f"APT::Architectures={architecture}"]
    run([*apt, "update"], folder)
    run([*apt, "download", *packages], folder)
    for package in folder.glob("*.deb"):
        run(["dpkg", "-x", str(package.resolve()), str((folder / "root").resolve())], folder)
        package.unlink()
    shutil.rmtree(root)


def run(command: Sequence[str], folder: Path) -> None:
    """Run a program that fetches; raises `NotToBeHad` with what it said."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"{command[0]} does not work here: {error}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "ERROR"))]
        raise NotToBeHad(f"the mirror has not what is needed: {said[0] if said else done.stderr}")
