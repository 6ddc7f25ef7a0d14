"""Fetches adb and adbd for the tests of the adb runner, into a folder and nowhere else.

    python -m scripts.fetch_adbd .venv/adbd

They are Debian 12's backports, taken as scripts/debian.py takes packages: nothing is installed.
Exit 1 with a sentence where they are not to be had. adbd is a shell without a password:
tests/support/phone.py runs it in a private network alone.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.debian import BACKPORTS, NotToBeHad, unpack

PACKAGES = (
    *(f"{name}/{BACKPORTS}" for name in ("adb", "adbd", "android-libbase", "android-libcutils")),
    *(f"{name}/{BACKPORTS}" for name in ("android-liblog", "android-libziparchive")),
    *("android-libboringssl", "libprotobuf32", "libusb-1.0-0"),
)


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
        unpack(PACKAGES, folder)
    except NotToBeHad as error:
        shutil.rmtree(folder)
        print(f"adbd was not fetched: {error}.", file=sys.stderr)
        return 1
    (folder / "whole").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
