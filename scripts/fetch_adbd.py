"""Fetches adb and adbd for the tests of the adb runner, into a folder and nowhere else.

    python scripts/fetch_adbd.py .venv/adbd

They are Debian 12's backports, taken from the mirror that this machine's apt uses, by apt's own
signatures, through a private configuration: nothing is installed. Exit 1 with a sentence where they
are not to be had. adbd is a shell without a password: tests/support/phone.py runs it in a private
network alone.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BACKPORTS = "bookworm-backports"
PACKAGES = (
    *(f"{name}/{BACKPORTS}" for name in ("adb", "adbd", "android-libbase", "android-libcutils")),
    *(f"{name}/{BACKPORTS}" for name in ("android-liblog", "android-libziparchive")),
    *("android-libboringssl", "libprotobuf32", "libusb-1.0-0"),
)
APT = Path("/etc/apt")
DEB822 = re.compile(r"^URIs:\s*(\S+)", re.MULTILINE)
ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+bookworm\s", re.MULTILINE)


class NotToBeHad(Exception):
    """Why, in one sentence."""


def mirror() -> str:
    """Where this machine's apt takes Debian 12 from."""
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").is_file() else ""
    if "VERSION_CODENAME=bookworm" not in release:
        raise NotToBeHad("adbd is taken from Debian 12's backports, and this is no Debian 12")
    files = [APT / "sources.list", *sorted((APT / "sources.list.d").glob("*"))]
    for file in files:
        text = file.read_text(errors="replace") if file.is_file() else ""
        text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
        if found := DEB822.search(text) or ONE_LINE.search(text):
            return found[1]
    raise NotToBeHad("apt's configuration names no mirror of Debian")


def fetch(folder: Path) -> None:
    """Download and unpack; raises `NotToBeHad`."""
    root = folder / "apt"
    for name in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/preferences.d"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (root / "etc/apt/sources.list").write_text(
        f"deb [signed-by={key}] {mirror()} bookworm main\n"
        f"deb [signed-by={key}] {mirror()} {BACKPORTS} main\n"
    )
    apt = ["apt-get", "-qq", "-o", f"Dir={root}", "-o", "APT::Sandbox::User=root"]
    apt += ["-o", f"Dir::State::status={root}/var/lib/dpkg/status"]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *PACKAGES], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg", "-x", str(package.resolve()), str((folder / "root").resolve())], folder)
        package.unlink()
    shutil.rmtree(root)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=600, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotToBeHad(f"{command[0]} does not work here: {error}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise NotToBeHad(f"the mirror has not what is needed: {said[0] if said else done.stderr}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch into a folder that is made; 0 where it is there, also from before."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) != 1:
        print("usage: fetch_adbd.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(words[0]).resolve()
    if (folder / "whole").is_file():
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        fetch(folder)
    except NotToBeHad as error:
        shutil.rmtree(folder)
        print(f"adbd was not fetched: {error}.", file=sys.stderr)
        return 1
    (folder / "whole").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
