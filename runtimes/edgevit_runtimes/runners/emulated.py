"""Runs a file on an emulated ARM core, with the runtimes' own ARM libraries, and counts what it
executes.

The emulator executes ARM's instructions exactly, but no pipeline and no clock: outputs are those of
such a core, counts are exact, and time is only estimated (`estimate/`).
"""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.engines import Engine
from edgevit_runtimes.errors import DeviceFailed, RunFailed, UnknownEngine
from edgevit_runtimes.estimate.counts import Counts, read_counts
from edgevit_runtimes.estimate.symbols import Names
from edgevit_runtimes.runners.native import Asked, Told, arranged, order_of, read_told
from edgevit_runtimes.session import Array, Port, Session
from edgevit_runtimes.sessions.opened import OpenFile, check_file
from edgevit_runtimes.setup.emulated import WHEELS, Emulated, emulator_version, require_emulated
from edgevit_runtimes.worker import ending

RUN_SECS = 3600.0  # about 7 s a GMAC of fp32
WARMUP = 1  # runtimes allocate, pack and choose in their first run


@dataclass(frozen=True, slots=True)
class Counted:
    """One warm run on an emulated core: its outputs, and what was executed in it."""

    outputs: tuple[Array, ...]
    counts: Counts
    version: str  # of the runtime
    names: Names  # of its blocks


def versions(engine: Engine) -> dict[str, str]:
    """The ARM packages that run an engine's files here, and the emulator.

    Raises `UnknownEngine` for an engine that no package for ARM was set up of.
    """
    for wheel in WHEELS:
        if wheel.engine == engine.name:
            return {wheel.package: wheel.version, "emulator": emulator_version()}
    raise UnknownEngine(
        f"Emulated devices run {', '.join(wheel.engine for wheel in WHEELS)}, not {engine.name}.",
        next="edgevit bench BUNDLE --format onnx,executorch,litert --device emulated:cortex-a77",
    )


def open_(path: Path, engine: Engine, core_name: str, threads: int = 1) -> Session:
    """A file on an emulated core as a session; every run is a process of its own.

    Raises `UnknownEngine`, `MissingRuntime` with the command that sets it up, or `RunFailed`.
    """
    versions(engine)
    check_file(path)
    environment, core = require_emulated(), CORES[core_name]
    with _workplace(path) as folder:
        told, _ = _start(environment, core, engine, folder, Asked(threads=threads), path.name)
    taken, returned = order_of(told.inputs), order_of(told.outputs)

    def call(arrays: tuple[Array, ...]) -> Sequence[Array]:
        with _workplace(path) as folder:
            given = arranged(arrays, taken)
            _start(
                environment, core, engine, folder, Asked(threads=threads, runs=0), path.name,
                given, told.outputs,
            )  # fmt: skip
            return _outputs(folder, told.outputs, returned)

    return OpenFile(
        engine.name,
        path.name,
        tuple(told.inputs[place] for place in taken),
        tuple(told.outputs[place] for place in returned),
        call,
    )


def count(
    path: Path,
    engine: Engine,
    core_name: str,
    inputs: Sequence[Array],
    warmup: int = WARMUP,
    caches: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Counted:
    """Run a file once, warm, on one thread, and count; raises as `open_` does.

    caches: model the core's caches too, which takes half as long again.
    """
    versions(engine)
    check_file(path)
    environment, core = require_emulated(), CORES[core_name]
    with _workplace(path) as folder:
        described, _ = _start(environment, core, engine, folder, Asked(), path.name)
        given = arranged(inputs, order_of(described.inputs))
        told, counts = _start(
            environment, core, engine, folder,
            Asked(warmup=warmup, marks=True, settings=settings or {}), path.name,
            given, described.outputs, caches,
        )  # fmt: skip
        outputs = _outputs(folder, told.outputs, order_of(told.outputs))
    if counts is None:
        raise RunFailed(f"Nothing was counted while {path.name} ran.")
    return Counted(tuple(outputs), counts, told.version, Names(told.maps, environment.files))


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """A folder for one run.

    The file has one short name in it, wherever it lies: what a process is told lies on its stack,
    and moves addresses.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="edgevit-arm-") as name:
            folder = Path(name)
            (folder / "model").symlink_to(path.absolute())
            yield folder
    except OSError as error:
        raise DeviceFailed(
            f"The emulated device could not be given its files: {error.strerror or error}.",
            next="df -h",
        ) from error


def _start(
    environment: Emulated,
    core: Core,
    engine: Engine,
    folder: Path,
    asked: Asked,
    file: str,
    inputs: Sequence[Array] = (),
    outputs: Sequence[Port] = (),
    caches: bool = False,
) -> tuple[Told, Counts | None]:
    for place, array in enumerate(inputs):
        np.ascontiguousarray(array).tofile(folder / f"input{place}")
    words = asked.words(
        "model",
        environment.library(engine.name),
        [f"input{place}" for place in range(len(inputs))],
        [f"output{place}" for place in range(len(outputs))],
    )
    command = environment.command(core, environment.program(engine.name), *words)
    if asked.marks:
        place = command.index("-cpu")
        sizes = f",caches={core.level1_kib}:{core.level2_kib}:{core.level3_kib}" if caches else ""
        command[place:place] = ["-plugin", f"{environment.plugin},out=counts{sizes}"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=RUN_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceFailed(f"{file} did not finish on {core.name} within {RUN_SECS:g} s.") from None
    except OSError as error:
        raise DeviceFailed(f"The emulator could not be started: {error.strerror}.") from error
    if done.returncode not in (0, 1):  # with 1 it says itself why
        raise RunFailed(
            f"{engine.name} for ARM ended its process on {file} ({ending(done.returncode)}).",
            next=f"edgevit verify BUNDLE --device emulated:{next(iter(CORES))}",
        )
    told = read_told(done.stdout.splitlines(), file)
    return told, read_counts(folder / "counts") if asked.marks else None


def _outputs(folder: Path, ports: Sequence[Port], places: Sequence[int]) -> list[Array]:
    arrays = []
    for place in places:
        port = ports[place]
        values = np.fromfile(folder / f"output{place}", port.dtype)
        if values.size != int(np.prod(port.shape)):
            raise RunFailed(f"Output {port.name!r} came back broken off.")
        arrays.append(values.reshape(port.shape))
    return arrays
