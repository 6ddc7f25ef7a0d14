"""The native code as it is tested: built once a run, for this machine, for ARM, and sanitized."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution, version
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.once import Shared

SOURCES = Path(__file__).resolve().parents[2] / "runtimes" / "native"
CROSS = "aarch64-linux-gnu"
SYSROOT = Path("/usr") / CROSS  # of Debian's cross compiler
EMULATOR = ("qemu-aarch64", "-cpu", "cortex-a76", "-L", str(SYSROOT))


def runner_libraries() -> Path:
    """The shared libraries of the ExecuTorch that is installed here."""
    return executorch() / "lib"


def executorch() -> Path:
    return Path(str(distribution("executorch").locate_file("executorch")))


@dataclass(frozen=True, slots=True)
class Build:
    """How one variant is configured, what it needs, and what starts its programs."""

    options: tuple[str, ...]
    needs: tuple[str, ...]
    start: tuple[str, ...] = ()


ARM = (f"-DCMAKE_TOOLCHAIN_FILE={SOURCES}/cmake/{CROSS}.cmake",)
HOST_TOOLS = ("cmake", "cc")
ARM_TOOLS = ("cmake", f"{CROSS}-gcc", "qemu-aarch64")
BUILDS: Mapping[str, Build] = MappingProxyType(
    {
        "host": Build((), HOST_TOOLS),
        "sanitized": Build(("-DEDGEVIT_SANITIZE=address,undefined",), HOST_TOOLS),
        "neon": Build(ARM, ARM_TOOLS, EMULATOR),
        "arm-scalar": Build((*ARM, "-DEDGEVIT_SCALAR=ON"), ARM_TOOLS, EMULATOR),
    }
)


# What a mirror may lack; everything else must be there where CI runs.
OPTIONAL = ("llvm-mc-19", "llvm-mca-19", "adb", "adbd")


def need(*tools: str) -> None:
    """Skip where a tool is missing; where CI runs, fail, since .ci/run installs it."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if os.environ.get("CI") and set(missing) - set(OPTIONAL):
        pytest.fail(f"{', '.join(missing)}: missing, though .ci/run installs it")
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed here")


def built(shared: Shared, name: str) -> Path:
    """The folder of a variant's build."""
    build = BUILDS[name]
    need(*build.needs)

    def make(folder: Path) -> Path:
        options = list(build.options)
        if name == "host":
            options += [
                f"-DEDGEVIT_EXECUTORCH={executorch()}",
                f"-DEDGEVIT_EXECUTORCH_VERSION={version('executorch')}",
            ]
        for command in (
            ("cmake", "-S", str(SOURCES), "-B", str(folder), *options),
            ("cmake", "--build", str(folder)),
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return folder

    return shared(f"native-{name}", make)


Program = Callable[..., subprocess.CompletedProcess[str]]


def program(shared: Shared, name: str) -> Program:
    """`edgevit-core` of a variant: call it with its words."""
    command = (*BUILDS[name].start, str(built(shared, name) / "core" / "edgevit-core"))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, words)], capture_output=True, text=True, check=False, timeout=300
        )

    return run


def plugin(shared: Shared) -> Path:
    """The counting plugin of the emulator."""
    need("cc")

    def make(folder: Path) -> Path:
        library = folder / "libedgevit_count.so"
        source = SOURCES / "plugin" / "count.c"
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", library, source],
            check=True,
        )
        return library

    return shared("native-plugin", make)


def count(
    shared: Shared, counts: Path, *words: str | Path, more: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run an ARM program with its instructions counted, in an environment that never changes."""
    command = ["setarch", "-R", *EMULATOR[:1], "-seed", "1", *EMULATOR[1:]]
    return subprocess.run(
        [*command, "-plugin", f"{plugin(shared)},out={counts}{more}", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={"PATH": os.defpath},
    )
