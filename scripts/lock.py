"""Write requirements.lock: the exact version of all that edgevit, its extras and its tests need.

python scripts/lock.py            pin what is installed in the environment that runs this
python scripts/lock.py --resolve  pin what a clean resolution of pyproject.toml gives today
python scripts/lock.py --check    write nothing; exit 1 where the file and the environment differ
"""

import argparse
import difflib
import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"

HEADER = """\
# Everything that edgevit, its extras and its tests need, at the versions they are tested with.
# Made by `make lock` on Linux x86-64 with Python 3.11. Do not edit by hand.
#
# Versions only. There are no hashes because torch's files are not the same everywhere: the CPU and
# the CUDA build are both 2.13.0, and which one comes depends on where your pip looks
# (docs/install.md). For the same reason the build's label (+cpu, +cu130) is left out. The CUDA
# build brings packages of its own, which it pins itself.
"""


def roots() -> list[Requirement]:
    """Every requirement that pyproject.toml names: itself, its extras, and its build backend."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    named = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    named += [line for lines in extras for line in lines]
    found = [Requirement(line) for line in named]
    return [each for each in found if canonicalize_name(each.name) != "edgevit"]


def installed() -> dict[str, str]:
    """Version by name of all that the roots reach among the installed packages."""
    pins: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = roots()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                found = distribution(name)
            except PackageNotFoundError:
                raise SystemExit(f"{name} is not installed here. Next: make lock") from None
            if not requirement.specifier.contains(found.version, prereleases=True):
                raise SystemExit(f"{name} is {found.version} here, but {requirement} is needed.")
            pins[name] = Version(found.version).public
            wanted = [Requirement(line) for line in found.requires or ()]
            todo += [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": extra})]
    return pins


def resolved() -> dict[str, str]:
    """Version by name of what pip would install into an empty environment; installs nothing."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    command += ["--report", "-", *map(str, roots())]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    found = [item["metadata"] for item in report["install"]]
    return {canonicalize_name(m["name"]): Version(m["version"]).public for m in found}


def main() -> int:
    """Write or check the lock; the exit code."""
    parser = argparse.ArgumentParser(description="Write requirements.lock.")
    parser.add_argument("--resolve", action="store_true", help="from a clean resolution")
    parser.add_argument("--check", action="store_true", help="compare and write nothing")
    options = parser.parse_args()
    pins = resolved() if options.resolve else installed()
    new = HEADER + "".join(f"{name}=={pins[name]}\n" for name in sorted(pins))
    old = LOCK.read_text() if LOCK.exists() else ""
    change = "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "old", "new"))
    sys.stdout.write(change)
    if options.check:
        return 1 if change else 0
    LOCK.write_text(new)
    print(f"{LOCK.name}: {len(pins)} packages, {'changed' if change else 'unchanged'}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
