"""Makes, finds and checks the side environment of the classic tflite-runtime.

tflite-runtime 2.14.0 is built against numpy 1, and ExecuTorch needs numpy 2: it cannot live beside
edgevit's own packages. It gets an environment of its own, made once on the user's word, and is
reached through a worker process (`sessions/tflite.py`).
"""

import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevit_runtimes.errors import BadSetting, DeviceFailed, MissingRuntime, reason

VERSION = "2.14.0"
PACKAGES: tuple[tuple[str, str], ...] = (("tflite-runtime", VERSION), ("numpy", "1.26.4"))
COMMAND = "edgevit device setup tflite"
SUCCESSOR = "edgevit verify BUNDLE -r litert, which runs the same files with its successor"
HOME = "EDGEVIT_TFLITE_HOME"  # names the environment's directory itself
MARKER = "edgevit-environment.json"  # written last: what holds it was whole once
MARKER_BYTES = 4096
INSTALL_SECS = 900.0
CHECK_SECS = 120.0

# Settings of the user's pip that would put packages elsewhere, or ask for others.
FOREIGN = (
    *("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_PYTHON", "PIP_DRY_RUN"),
    *("PIP_CONSTRAINT", "PIP_REQUIREMENT", "PIP_NO_BINARY", "PIP_ONLY_BINARY", "PIP_PLATFORM"),
)

Report = Callable[[str], None]
State = Literal["present", "absent", "broken", "foreign"]


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


def tflite_home(variables: Mapping[str, str] = os.environ) -> Path:
    """Where the environment lies: EDGEVIT_TFLITE_HOME, or below the user's data directory.

    Raises `DeviceFailed` for a user without a home directory.
    """
    if variables.get(HOME):
        return Path(os.path.abspath(variables[HOME]))  # noqa: PTH100 - Path.absolute keeps `..`
    data = Path(variables.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG rule: a relative path is ignored
        try:
            data = Path.home() / ".local" / "share"
        except RuntimeError:
            raise DeviceFailed(
                "This user has no home directory to keep tflite-runtime in.",
                next=f"{HOME}=DIR {COMMAND}",
            ) from None
    return data / "edgevit" / f"tflite-{VERSION}"


def look(place: Path) -> State:
    """The state of a path: our environment (complete or broken), nothing, or foreign files."""
    try:
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return "absent"
        marker = place / MARKER
        if not marker.is_file():
            return "foreign"
        if marker.stat().st_size > MARKER_BYTES:
            return "broken"
        content = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "broken"
    same = isinstance(content, dict) and content.get("packages") == dict(PACKAGES)
    # The Python is a link to the one that made it, which may have been removed since.
    return "present" if same and _python(place).exists() else "broken"


def find_tflite() -> Environment | None:
    """The environment if it is complete, else None; starts nothing."""
    try:
        place = tflite_home()
    except DeviceFailed:
        return None
    return Environment(place, _python(place)) if look(place) == "present" else None


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
    place = tflite_home()
    if _is_made(place, force):
        return Environment(place, _python(place)), "found"
    wheels = wheels_here()
    partial = _hidden(place, "partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()  # by nobody else: nothing that was planted under this name is filled
        try:
            report("make an empty environment")
            _make(partial)
            report("download and install")
            _install(partial, wheels)
            report("import the runtime")
            _check(partial)
            marker = {"schema": 1, "packages": dict(PACKAGES)}
            (partial / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
            if _is_made(place, force):  # a download takes a while: somebody may have been faster
                return Environment(place, _python(place)), "found"
            _replace(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise DeviceFailed(
            f"The environment could not be written to {place}: {error.strerror or error}.",
            next=f"{HOME}=ANOTHER_DIR {COMMAND}",
        ) from error
    return Environment(place, _python(place)), "made"


def bytes_of(environment: Environment) -> int:
    """What the environment takes on the disk; links are not followed."""
    files = (p for p in environment.path.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(p.stat().st_size for p in files)


def _is_made(place: Path, force: bool) -> bool:
    """Whether a whole environment is there that is to stay; raises `BadSetting` where something is
    in the way.
    """
    state = look(place)
    if state == "foreign":
        raise BadSetting(
            f"{place} has files that edgevit did not make; they are never removed.",
            next=f"{HOME}=ANOTHER_DIR {COMMAND}",
        )
    if state == "broken" and not force:
        raise BadSetting(
            f"The environment in {place} exists but no longer works.",
            next=f"{COMMAND} --force",
        )
    return state == "present" and not force


def _hidden(place: Path, word: str) -> Path:
    """A name beside `place` that no other process takes, or can tell beforehand.

    Not by process number: two containers on one volume are both process 1.
    """
    return place.parent / f".edgevit.{word}-{secrets.token_hex(8)}"


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _make(partial: Path) -> None:
    done = _run([sys.executable, "-I", "-m", "venv", str(partial)], CHECK_SECS)
    if done.returncode != 0:
        printed = f"{done.stdout}\n{done.stderr}"
        if "ensurepip" in printed:
            raise MissingRuntime(
                "This Python cannot make environments: it has no ensurepip.",
                next=f"Debian: apt-get install python{sys.version_info[0]}.{sys.version_info[1]}"
                "-venv",
            )
        raise DeviceFailed(f"No environment could be made: {_last(printed)}.", next="df -h")


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
    done = _run(
        [*pip, "install", *options, "--progress-bar", "off", "-r", str(requirements)], INSTALL_SECS
    )
    if done.returncode != 0:
        raise DeviceFailed(
            f"pip could not install tflite-runtime: {_last(done.stderr)}.",
            next=f"{COMMAND}, once `pip download tflite-runtime=={VERSION}` works here",
        )
    done = _run([*pip, "uninstall", "--yes", "-q", "setuptools", "pip"], CHECK_SECS)
    if done.returncode != 0:
        raise DeviceFailed(f"pip could not remove itself: {_last(done.stderr)}.", next=COMMAND)


def _check(partial: Path) -> None:
    done = _run([str(_python(partial)), "-I", "-c", CHECK], CHECK_SECS)
    try:
        installed = json.loads(done.stdout)
    except ValueError:
        raise DeviceFailed(
            f"tflite-runtime was installed and cannot be imported: {_last(done.stderr)}.",
            next="edgevit doctor",
        ) from None
    if installed != dict(PACKAGES):
        raise DeviceFailed(
            f"pip installed other versions than asked for: {installed}.", next=COMMAND
        )


def _replace(partial: Path, place: Path) -> None:
    """Rename into place; what is there steps aside first, and is removed last."""
    aside = _hidden(place, "old")
    try:
        if place.exists():
            place.rename(aside)
        partial.rename(place)
    except BaseException:
        if aside.exists() and not place.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _run(command: Sequence[str], secs: float) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=secs,
            env=variables,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceFailed(
            f"Making the environment took longer than {secs:g} s.", next=COMMAND
        ) from None


def _last(printed: str) -> str:
    """The sentence of a failed command: its first ERROR, else its last line."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    line = errors[0] if errors else lines[-1] if lines else "it said nothing"
    return reason(ValueError(line.removeprefix("ERROR:").strip()))


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split(".") if part.isdigit())
