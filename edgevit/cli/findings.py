"""What this machine and environment can do, and the exact line that brings each missing part."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, distributions, requires
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from edgevit.errors import EnvironmentFailed
from edgevit.tasks.pixels.library import found, kernels, load
from edgevit_runtimes.errors import RuntimesError
from edgevit_runtimes.setup import emulated
from edgevit_runtimes.setup import tflite as setup
from edgevit_runtimes.setup.kept import Kept

State = Literal["ok", "missing", "warning"]

GB = 1_000_000_000
LEAST_FREE = 2 * GB  # one exported file can be that large, and it is written beside the old one

EXTRAS = ("torch", "onnx", "executorch", "coreml", "litert")

# Upper bounds that an extra needs and does not declare itself: package, bound, what happens
# without it, and the package that it happens to.
CONFLICTS = (
    ("numpy", "<2.4", "coremltools 9.0 fails while it traces a network", "coremltools"),
    ("cattrs", "<26", "litert-torch fails when it is imported, through xdsl", "litert-torch"),
)

# Tools that edgevit starts as programs: name, what it is for, Debian's package.
TOOLS = (
    ("adb", "measuring on an Android phone", "adb"),
    ("ssh", "measuring on a board over the network", "openssh-client"),
    ("cmake", "building the native runner", "cmake"),
    ("aarch64-linux-gnu-g++", "building the native runner for ARM", "g++-aarch64-linux-gnu"),
    ("llvm-mca-19", "estimating latencies on ARM", "llvm-19"),
    # Not qemu-user-static, which takes no plugins.
    ("qemu-aarch64", "counting ARM instructions without a phone", "qemu-user"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `fix` is the line that gets it, where there is one."""

    name: str
    state: State
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """One requirement of edgevit: a package, its bounds, the extra that asks for it ("": none)."""

    package: str
    bounds: str
    extra: str


def examine() -> tuple[Finding, ...]:
    """Look at all that `edgevit doctor` reports; reads package metadata, never the network."""
    # The first of two copies on sys.path is the one that an import finds.
    found = reversed([(entry.name, entry.version) for entry in distributions() if entry.name])
    installed: dict[str, str] = {canonicalize_name(name): version for name, version in found}
    try:
        needs = parse_needs(requires("edgevit") or ())
    except PackageNotFoundError:
        needs = ()
    return (
        check_python(sys.version_info[:3]),
        check_edgevit(installed, needs),
        check_torch(installed),
        *(check_extra(extra, needs, installed) for extra in EXTRAS if needs),
        *check_conflicts(installed),
        check_disk("disk here", Path.cwd),
        check_disk("disk for temporary files", lambda: Path(tempfile.gettempdir())),
        *(check_tool(*tool, shutil.which(tool[0])) for tool in TOOLS),
        check_core(),
        check_emulated(),
        check_tflite(),
        check_telemetry(installed, os.environ),
    )


def check_python(version: tuple[int, ...]) -> Finding:
    """Python itself."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        detail = f"Python {text}; edgevit needs 3.11"
        return Finding("python", "missing", detail, "install Python 3.11")
    if version >= (3, 12):
        return Finding("python", "ok", f"Python {text}; edgevit is tested with 3.11")
    return Finding("python", "ok", f"Python {text}")


def check_edgevit(installed: Mapping[str, str], needs: tuple[Need, ...]) -> Finding:
    """edgevit and what it needs with no extra."""
    if "edgevit" not in installed:
        detail = "runs from a source tree that is not installed, so its extras are not known here"
        return Finding("edgevit", "warning", detail, "pip install --no-deps -e .")
    name = f"edgevit {installed['edgevit']}"
    return _check_needs(name, "", needs, installed, "pip install edgevit")


def check_extra(extra: str, needs: tuple[Need, ...], installed: Mapping[str, str]) -> Finding:
    """One extra: complete, incomplete, or with versions it was not tested with."""
    fix = f"pip install 'edgevit[{extra}]'"
    return _check_needs(f"extra {extra}", extra, needs, installed, fix)


def check_torch(installed: Mapping[str, str]) -> Finding:
    """torch: the build and its installed size."""
    if "torch" not in installed:
        detail = "not installed; every command that builds a network needs it"
        return Finding("torch", "missing", detail, "pip install 'edgevit[torch]'")
    build = torch_build()
    detail = f"torch {installed['torch']}, {build} build"
    if not build.startswith("CUDA"):
        return Finding("torch", "ok", f"{detail}, {_installed_size(['torch']) / GB:.1f} GB")
    brought = [name for name in installed if name.startswith(("nvidia-", "cuda-", "triton"))]
    size = _installed_size(["torch", *brought]) / GB
    detail += f", {size:.1f} GB with {len(brought)} CUDA packages; the CPU build is enough"
    return Finding("torch", "warning", detail, "docs/install.md says how to get the CPU build")


def torch_build() -> str:
    """`CPU`, `CUDA 13.0`, `ROCm 7.0` or `unknown`, from torch/version.py as text: no import."""
    try:
        text = Path(str(distribution("torch").locate_file("torch/version.py"))).read_text("utf-8")
    except (PackageNotFoundError, OSError, UnicodeDecodeError):
        return "unknown"
    for attribute, name in (("cuda", "CUDA"), ("hip", "ROCm")):
        if found := re.search(rf"^{attribute}\b[^=\n]*=\s*['\"]([\w.-]+)['\"]", text, re.MULTILINE):
            return f"{name} {found[1]}"
    return "CPU"


def check_conflicts(installed: Mapping[str, str]) -> tuple[Finding, ...]:
    """Installed versions that break another installed package; nothing to say is good news."""
    return tuple(
        Finding(
            f"{package} beside {victim}",
            "warning",
            f"{package} {installed[package]} is installed: {consequence}",
            f"pip install '{package}{bound}'",
        )
        for package, bound, consequence, victim in CONFLICTS
        if package in installed and victim in installed and not _within(installed[package], bound)
    )


def check_disk(name: str, folder: Callable[[], Path]) -> Finding:
    """Free space in a folder; a function, since asking for a deleted working folder fails."""
    try:
        place = folder()
        free = shutil.disk_usage(place).free
    except OSError as error:
        detail = f"cannot be read: {error.strerror or error}"
        return Finding(name, "warning", detail, "cd to a folder that exists")
    detail = f"{free / GB:.1f} GB free in {place}"
    if free < LEAST_FREE:
        detail += f"; an export can need {LEAST_FREE / GB:.0f} GB"
        return Finding(name, "warning", detail, "free some space, or write elsewhere with -o")
    return Finding(name, "ok", detail)


def check_tool(name: str, purpose: str, package: str, path: str | None) -> Finding:
    """A program on PATH; every one of them is optional."""
    if path is None:
        fix = f"Debian: apt-get install {package}"
        return Finding(name, "missing", f"not on PATH; needed only for {purpose}", fix)
    return Finding(name, "ok", f"{path}, for {purpose}")


def check_core() -> Finding:
    """The C core, which is optional: numpy computes the same."""
    name = "native core"
    path = found()
    if path is None:
        return Finding(name, "missing", "not built; numpy computes the same, slower", "make native")
    try:
        return Finding(name, "ok", f"{path}, {kernels(load(path))} kernels, for exact masks")
    except EnvironmentFailed as error:
        return Finding(name, "warning", error.message.rstrip("."), error.next)


def check_emulated() -> Finding:
    """The ARM libraries and programs for emulated cores, boards and phones, which are optional."""
    return _check_kept("ARM devices", emulated.KEPT, "to execute files on ARM")


def check_tflite() -> Finding:
    """The side environment of the classic tflite-runtime, which is optional."""
    name = f"tflite-runtime {setup.VERSION}"
    return _check_kept(name, setup.KEPT, "to run .tflite files as old boards do")


def _check_kept(name: str, kept: Kept, purpose: str) -> Finding:
    """What is set up once in a directory of the user."""
    try:
        place = kept.home()
    except RuntimesError as error:
        return Finding(name, "warning", error.message.rstrip("."), error.next)
    match kept.look(place):
        case "present":
            return Finding(name, "ok", f"{place}, {purpose}")
        case "broken":
            again = f"{kept.command} --force"
            return Finding(name, "warning", f"{place} no longer works", again)
        case "foreign":
            fix = f"{kept.variable}=DIR {kept.command}"
            return Finding(name, "warning", f"{place} holds other files", fix)
    return Finding(name, "missing", f"not set up; needed only {purpose}", kept.command)


def check_telemetry(installed: Mapping[str, str], environment: Mapping[str, str]) -> Finding:
    """Whether onnxruntime may send usage data; its Linux wheels start a thread for it."""
    name, variable = "onnxruntime telemetry", "ORT_DISABLE_TELEMETRY"
    if "onnxruntime" not in installed:
        return Finding(name, "ok", "onnxruntime is not installed")
    value = environment.get(variable)
    if value == "1":
        return Finding(name, "ok", f"off: {variable}=1")
    if value is None:
        detail = f"off within edgevit, which sets {variable}=1; on in other programs"
        return Finding(name, "ok", detail)
    detail = f"{variable}={value} leaves it on, which starts a thread and disturbs measurements"
    return Finding(name, "warning", detail, f"export {variable}=1")


def parse_needs(lines: Iterable[str]) -> tuple[Need, ...]:
    """Package metadata's Requires-Dist lines, such as `onnx==1.23.2; extra == 'onnx'`: those that
    apply to this machine, with no extra or with one of EXTRAS.
    """
    needs = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        for extra in ("", *EXTRAS):
            if marker is None or marker.evaluate({"extra": extra}):
                name = canonicalize_name(requirement.name)
                needs.append(Need(name, str(requirement.specifier), extra))
                break
    return tuple(needs)


def _check_needs(
    name: str, extra: str, needs: tuple[Need, ...], installed: Mapping[str, str], fix: str
) -> Finding:
    asked = [need for need in needs if need.extra == extra]
    missing = [need.package for need in asked if need.package not in installed]
    if missing:
        return Finding(name, "missing", f"not installed: {', '.join(missing)}", fix)
    different = [
        f"{need.package} {installed[need.package]} (tested with {need.bounds.removeprefix('==')})"
        for need in asked
        if not _within(installed[need.package], need.bounds)
    ]
    if different:
        return Finding(name, "warning", f"other versions than tested: {', '.join(different)}", fix)
    present = ", ".join(f"{need.package} {installed[need.package]}" for need in asked)
    return Finding(name, "ok", present)


def _within(version: str, bounds: str) -> bool:
    """Whether a version keeps bounds such as `>=2,<2.4`; a build label (+cpu) does not count, and a
    version that Python's packages may not have keeps none.
    """
    try:
        return SpecifierSet(bounds).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False


def _installed_size(packages: Iterable[str]) -> int:
    """Bytes of the packages' files, by their own records."""
    total = 0
    for package in packages:
        try:
            files = distribution(package).files or ()
        except PackageNotFoundError:
            continue
        total += sum(file.size or 0 for file in files)
    return total
