"""What there is to run files on, and what each device can run."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.engines import ENGINES
from edgevit_runtimes.errors import MissingRuntime
from edgevit_runtimes.setup.emulated import WHEELS, check_tools, require_emulated
from edgevit_runtimes.setup.tflite import find_tflite


@dataclass(frozen=True, slots=True)
class Listed:
    """A device: its name for `--device`, its runtimes, and what brings what it lacks."""

    device: str
    state: Literal["ready", "missing"]
    engines: tuple[str, ...]
    how: str
    next: str | None = None


def list_all() -> tuple[Listed, ...]:
    """This machine, then the emulated cores; starts nothing but the emulator's own help."""
    return (_local(), *_emulated())


def _local() -> Listed:
    engines = [name for name, engine in ENGINES.items() if _installed(engine.packages[0])]
    if find_tflite() is not None:
        engines.append("tflite")
    facts = machine_facts()
    how = f"measured on {facts['cpu'] or facts['machine']}, {facts['usable_cores']} cores"
    if engines:
        return Listed("local", "ready", tuple(engines), how)
    return Listed("local", "missing", (), how, "pip install 'edgevit[all]'")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _emulated() -> list[Listed]:
    engines = tuple(wheel.engine for wheel in WHEELS)
    lacking: str | None = None
    try:
        require_emulated()
    except MissingRuntime as error:
        lacking = error.next
    if lacking is not None:
        try:  # all that setting up needs, not only what running does
            check_tools()
        except MissingRuntime as error:
            lacking = error.next
    return [
        Listed(
            f"emulated:{core.name}",
            "ready" if lacking is None else "missing",
            engines if lacking is None else (),
            f"counted, and estimated as in a {core.device} at {core.clock_ghz:g} GHz",
            lacking,
        )
        for core in CORES.values()
    ]
