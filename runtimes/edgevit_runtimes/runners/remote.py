"""Runs files on a device that takes commands and files (`shell.Shell`), by the native runner.

Everything the runner needs goes along, its C library too, so that the device needs nothing but an
ARM kernel of Linux: boards without Python, and phones, whose own C library is another one. All of
it lies in one temporary folder of the device, each file checked by its hash, and is removed.
"""

import hashlib
import re
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevit_runtimes.engines import Engine
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, RunFailed, UnknownEngine
from edgevit_runtimes.runners.native import Asked, Told, arranged, order_of, read_told
from edgevit_runtimes.runners.shell import Shell
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, check_file
from edgevit_runtimes.setup.emulated import COMMAND, SYSROOT, WHEELS, Emulated, find_emulated

LOADER = "ld-linux-aarch64.so.1"
RUN_SECS = 3600.0
NEEDED: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("libonnxruntime.so.1",),
    "litert": ("libLiteRt.so",),
    "executorch": tuple(
        f"libexecutorch{part}.so"
        for part in (
            *("", "_threadpool", "_backend_xnnpack", "_kernels_optimized", "_kernels_quantized"),
        )
    ),
}
# What runtimes say of a file that is newer than they are.
TOO_NEW = re.compile(r"IR version|newer model|version.*(not supported|unsupported)", re.IGNORECASE)
FOLDER = re.compile(r"/[\w./-]{1,200}/edgevit\.\w{6,}")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of a device, and the device's own name for it."""

    shell: Shell
    folder: str

    def path(self, name: str) -> str:
        """A file in it, quoted for its shell."""
        return shlex.quote(f"{self.folder}/{name}")


def versions(engine: Engine) -> dict[str, str]:
    """The ARM packages that run an engine's files there; raises `UnknownEngine`."""
    for wheel in WHEELS:
        if wheel.engine == engine.name:
            return {wheel.package: wheel.version}
    raise UnknownEngine(
        f"Devices run {', '.join(wheel.engine for wheel in WHEELS)}, not {engine.name}.",
        next="edgevit bench BUNDLE --format onnx,executorch,litert --device DEVICE",
    )


def require_programs() -> Emulated:
    """The ARM programs and libraries that are sent along; raises `MissingRuntime`."""
    environment = find_emulated()
    if environment is None:
        raise MissingRuntime(
            "The ARM libraries and programs that devices are sent are not set up.", next=COMMAND
        )
    return environment


def check_machine(shell: Shell) -> None:
    """Raise `DeviceFailed` for a device that is no 64-bit ARM."""
    machine = shell.run("uname -m").out.strip()
    if machine not in ("aarch64", "arm64"):
        raise DeviceFailed(
            f"{shell.name} is {machine or 'of an unknown kind'}, and the native runner is built for"
            " aarch64.",
            next="edgevit bench BUNDLE --device local, on that machine",
        )


@contextmanager
def placed(shell: Shell, engine: Engine) -> Iterator[Place]:
    """A folder on the device with the runner of an engine; removed in the end.

    Raises `UnknownEngine`, `MissingRuntime` or `DeviceFailed`.
    """
    versions(engine)
    environment = require_programs()
    check_machine(shell)
    # In double quotes: the device's own shell is to put in its TMPDIR.
    answer = shell.run(f'mktemp -d "{shell.temporary}/edgevit.XXXXXXXX"')
    folder = answer.out.strip()
    if answer.code != 0 or not FOLDER.fullmatch(folder):
        why = answer.err.strip().rstrip(".") or f"{folder[:80]!r} is no plain path"
        raise DeviceFailed(f"{shell.name} gives no temporary folder: {why}.")
    place = Place(shell, folder)
    try:
        libraries = environment.path / "sysroot" / "lib"
        files = {name: libraries / name for name in SYSROOT}
        files |= {name: environment.path / "lib" / name for name in NEEDED[engine.name]}
        files["run"] = environment.program(engine.name)
        for name, path in files.items():
            send(place, path, name)
        answer = shell.run(f"chmod 755 {place.path('run')} {place.path(LOADER)}")
        if answer.code != 0:
            raise DeviceFailed(f"{shell.name} lets nothing be executed in {folder}.")
        yield place
    finally:
        with suppress(DeviceFailed):  # a device that is lost removes nothing
            shell.run(f"rm -rf {shlex.quote(folder)}")


def send(place: Place, path: Path, name: str) -> None:
    """Write a file and compare its hash there; raises `DeviceFailed`."""
    place.shell.push(path, f"{place.folder}/{name}")
    answer = place.shell.run(f"sha256sum {place.path(name)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if answer.code != 0 or answer.out.split(" ")[0].strip("\\") != digest:
        raise DeviceFailed(f"{name} did not arrive whole on {place.shell.name}.", next="try again")


def run(
    place: Place,
    engine: Engine,
    file: str,
    asked: Asked,
    inputs: Sequence[Array] = (),
    outputs: Sequence[Port] = (),
) -> tuple[Told, list[Array]]:
    """Run the file `model` of a place; what was told, and the outputs in the file's order.

    Raises `RunFailed` where the runtime refuses the file, `DeviceFailed` where the device is lost
    or its runtime is too old.
    """
    with tempfile.TemporaryDirectory(prefix="edgevit-device-") as name:
        here = Path(name)
        for index, array in enumerate(inputs):
            np.ascontiguousarray(array).tofile(here / f"input{index}")
            send(place, here / f"input{index}", f"input{index}")
        library = NEEDED[engine.name][0] if engine.name != "executorch" else None
        words = asked.words(
            "model",
            None if library is None else f"./{library}",
            [f"input{index}" for index in range(len(inputs))],
            [f"output{index}" for index in range(len(outputs))],
        )
        lines: list[str] = []
        command = f"./{LOADER} --library-path . ./run {shlex.join(words)}"
        code = place.shell.follow(
            f"cd {shlex.quote(place.folder)} && {command} 2>/dev/null", lines.append, RUN_SECS
        )
        told = _told(lines, file, code, place.shell.name)
        results = []
        for index, port in enumerate(outputs):
            place.shell.pull(f"{place.folder}/output{index}", here / f"output{index}")
            values = np.fromfile(here / f"output{index}", port.dtype)
            if values.size != int(np.prod(port.shape)):
                raise DeviceFailed(f"Output {port.name!r} came back broken off.", next="try again")
            results.append(values.reshape(port.shape))
        return told, results


def _told(lines: Sequence[str], file: str, code: int, device: str) -> Told:
    try:
        told = read_told(lines, file)
    except RunFailed as error:
        if TOO_NEW.search(error.message):
            raise DeviceFailed(
                f"The runtime that was sent to {device} is too old for it: {error.message}",
                next=f"{COMMAND} --force, with the edgevit that exported the file",
            ) from error
        if code not in (0, 1):
            raise RunFailed(f"{file} ended its process on {device} (exit code {code}).") from error
        raise
    if code != 0 or (told.first_ns is not None and not told.done):
        raise RunFailed(f"{file} ended its process on {device} (exit code {code}).")
    return told


@dataclass(frozen=True, slots=True)
class OpenThere:
    """A file on a device, its ports known; runs through the folder it lies in."""

    place: Place
    engine: Engine
    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def run(self, asked: Asked, arrays: Sequence[Array]) -> tuple[Told, list[Array]]:
        """Run on arrays in the network's order; outputs in that order, too."""
        given = arranged(arrays, order_of(self.inputs))
        told, results = run(self.place, self.engine, self.file, asked, given, self.outputs)
        return told, [results[place] for place in order_of(self.outputs)]


def opened(place: Place, path: Path, engine: Engine, threads: int = 1) -> OpenThere:
    """Send a file and describe it there; raises as `run` does."""
    check_file(path)
    send(place, path, "model")
    told, _ = run(place, engine, path.name, Asked(threads=threads))
    return OpenThere(place, engine, path.name, told.inputs, told.outputs)


def open_(shell: Shell, path: Path, engine: Engine, threads: int = 1) -> Session:
    """A file on a device as a session, whose folder is removed when it is closed."""
    with ExitStack() as stack:
        there = opened(stack.enter_context(placed(shell, engine)), path, engine, threads)
        kept = stack.pop_all()

    def call(arrays: tuple[Array, ...]) -> Sequence[Array]:
        return there.run(Asked(threads=threads, runs=0), arrays)[1]

    taken, returned = order_of(there.inputs), order_of(there.outputs)
    return OpenFile(
        engine.name,
        path.name,
        tuple(there.inputs[place] for place in taken),
        tuple(there.outputs[place] for place in returned),
        call,
        release=kept.close,
    )
