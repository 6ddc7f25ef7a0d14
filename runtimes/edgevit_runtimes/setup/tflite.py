"""Makes, finds and checks the side environment of the classic tflite-runtime.

tflite-runtime 2.14.0 is built against numpy 1, and ExecuTorch needs numpy 2: it cannot live beside
edgevit's own packages. It gets an environment of its own, made once on the user's word, and is
reached through a worker process (`sessions/tflite.py`).
"""

import functools
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.setup.kept import Kept, Marker, Report, State, last, run

VERSION = "2.14.0"
PACKAGES: tuple[tuple[str, str], ...] = (("tflite-runtime", VERSION), ("numpy", "1.26.4"))
COMMAND = "edgevit device setup tflite"
SUCCESSOR = "edgevit verify BUNDLE -r litert, which runs the same files with its successor"
HOME = "EDGEVIT_TFLITE_HOME"  # names the environment's directory itself
INSTALL_SECS = 900.0
CHECK_SECS = 120.0


@dataclass(frozen=True, slots=True)
class Wheels:
    """The files that were published for one kind of machine, by sha256 in the order of PACKAGES."""

    system: str
    machine: str
    python: tuple[int, int]
    glibc: tuple[int, int]  # the oldest they load with
    sha256: tuple[str, ...]
    megabytes: int  # to download


WHEELS: tuple[Wheels, ...] = (
    Wheels(
        system="Linux",
        machine="x86_64",
        python=(3, 11),
        glibc=(2, 17),
        sha256=(
            "195ab752e7e57329a68e54dd3dd5439fad888b9bff1be0f0dc042a3237a90e4d",
            "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5",
        ),
        megabytes=21,
    ),
    Wheels(
        system="Linux",
        machine="aarch64",
        python=(3, 11),
        glibc=(2, 34),
        sha256=(
            "ce9fa5d770a9725c746dcbf6f59f3178233b3759f09982e8b2db8d2234c333b0",
            "7ab55401287bfec946ced39700c053796e7cc0e3acbef09993a9ad2adba6ca6e",
        ),
        megabytes=17,
    ),
)

CHECK = """
import json, numpy, tflite_runtime, tflite_runtime.interpreter
print(json.dumps({"tflite-runtime": tflite_runtime.__version__, "numpy": numpy.__version__}))
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """A whole environment: its directory and its Python."""

    path: Path
    python: Path


def _complete(place: Path, marker: Marker) -> bool:
    # The Python is a link to the one that made it, which may have been removed since.
    return marker.get("packages") == dict(PACKAGES) and _python(place).exists()


KEPT = Kept(
    name=f"tflite-{VERSION}",
    what="the environment",
    subject="tflite-runtime",
    command=COMMAND,
    variable=HOME,
    complete=_complete,
)


def tflite_home(variables: Mapping[str, str] = os.environ) -> Path:
    """Where the environment lies: EDGEVIT_TFLITE_HOME, or below the user's data directory.

    Raises `DeviceFailed` for a user without a home directory.
    """
    return KEPT.home(variables)


def look(place: Path) -> State:
    """The state of a path: our environment (complete or broken), nothing, or foreign files."""
    return KEPT.look(place)


def find_tflite() -> Environment | None:
    """The environment if it is complete, else None; starts nothing."""
    place = KEPT.find()
    return None if place is None else Environment(place, _python(place))


def require_tflite() -> Environment:
    """The environment; raises `MissingRuntime` with the command that makes it."""
    environment = find_tflite()
    if environment is not None:
        return environment
    place = tflite_home()
    if look(place) == "broken":
        raise broken(f"the environment in {place} no longer works")
    raise MissingRuntime(
        f"Running files with tflite-runtime {VERSION} needs a separate environment, which is not"
        " set up.",
        next=COMMAND,
    )


def broken(what: str) -> MissingRuntime:
    """The environment is there and of no use."""
    return MissingRuntime(f"tflite-runtime cannot be started: {what}.", next=f"{COMMAND} --force")


def wheels_here() -> Wheels:
    """The files for the running Python; raises `DeviceFailed` if none were published."""
    system, machine, python = platform.system(), platform.machine(), sys.version_info[:2]
    name, release = platform.libc_ver()
    for wheels in WHEELS:
        if (wheels.system, wheels.machine, wheels.python) != (system, machine, python):
            continue
        if sys.implementation.name != "cpython" or name != "glibc":
            continue
        if _numbers(release) >= wheels.glibc:
            return wheels
    here = f"{sys.implementation.name} {python[0]}.{python[1]} on {system} {machine}"
    exist = "; ".join(
        f"CPython {w.python[0]}.{w.python[1]} on {w.system} {w.machine} with glibc"
        f" {w.glibc[0]}.{w.glibc[1]} or newer"
        for w in WHEELS
    )
    raise DeviceFailed(
        f"tflite-runtime {VERSION} was published for {exist}, and not for {here}"
        f"{f' with {name} {release}' if name else ''}.",
        next=SUCCESSOR,
    )


def plan_tflite() -> str:
    """One line on what `setup_tflite` would download, and where to; raises as it does."""
    wheels = wheels_here()
    names = " and ".join(f"{name} {version}" for name, version in PACKAGES)
    return (
        f"downloading {names} ({wheels.megabytes} MB) with pip, into an environment of their own:"
        f" {tflite_home()}"
    )


def setup_tflite(
    force: bool = False, report: Report = lambda _: None
) -> tuple[Environment, Literal["made", "found"]]:
    """Make the environment, or find it made; `force` makes it again. `report` is told each step.

    It is made under a temporary name and renamed when it has imported its runtime. pip takes the
    published files alone, by sha256, from wherever the user's pip is set up to look. Raises
    `BadSetting` where something else is at its place, `DeviceFailed` where no files exist for this
    machine or a step fails, `MissingRuntime` where this Python cannot make environments; then
    nothing is left, and an earlier environment stays.
    """

    def prepare() -> Callable[[Path], Marker]:
        return functools.partial(_fill, wheels_here(), report)

    place, state = KEPT.make(prepare, force)
    return Environment(place, _python(place)), state


def _fill(wheels: Wheels, report: Report, partial: Path) -> Marker:
    report("make an empty environment")
    _make(partial)
    report("download and install")
    _install(partial, wheels)
    report("import the runtime")
    _check(partial)
    return {"packages": dict(PACKAGES)}


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _make(partial: Path) -> None:
    done = run([sys.executable, "-I", "-m", "venv", str(partial)], CHECK_SECS, COMMAND)
    if done.returncode != 0:
        printed = f"{done.stdout}\n{done.stderr}"
        if "ensurepip" in printed:
            raise MissingRuntime(
                "This Python cannot make environments: it has no ensurepip.",
                next=f"Debian: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}"
                "-venv",
            )
        raise DeviceFailed(f"No environment could be made: {last(printed)}.", next="df -h")


def _install(partial: Path, wheels: Wheels) -> None:
    """Install exactly the published files, then take pip away: nothing else is to get in."""
    requirements = partial / "requirements.txt"
    lines = [
        f"{name}=={version} --hash=sha256:{digest}\n"
        for (name, version), digest in zip(PACKAGES, wheels.sha256, strict=True)
    ]
    requirements.write_text("".join(lines), encoding="utf-8")
    pip = [str(_python(partial)), "-I", "-m", "pip"]
    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-input")
    done = run(
        [*pip, "install", *options, "--progress-bar", "off", "-r", str(requirements)],
        INSTALL_SECS,
        COMMAND,
    )
    if done.returncode != 0:
        raise DeviceFailed(
            f"pip could not install tflite-runtime: {last(done.stderr)}.",
            next=f"{COMMAND}, once `pip download tflite-runtime=={VERSION}` works here",
        )
    done = run([*pip, "uninstall", "--yes", "-q", "setuptools", "pip"], CHECK_SECS, COMMAND)
    if done.returncode != 0:
        raise DeviceFailed(f"pip could not remove itself: {last(done.stderr)}.", next=COMMAND)


def _check(partial: Path) -> None:
    done = run([str(_python(partial)), "-I", "-c", CHECK], CHECK_SECS, COMMAND)
    try:
        installed = json.loads(done.stdout)
    except ValueError:
        raise DeviceFailed(
            f"tflite-runtime was installed and cannot be imported: {last(done.stderr)}.",
            next="edgevit doctor",
        ) from None
    if installed != dict(PACKAGES):
        raise DeviceFailed(
            f"pip installed other versions than asked for: {installed}.", next=COMMAND
        )


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdigit())
