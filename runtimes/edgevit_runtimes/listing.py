"""What there is to run files on, and what each device can run."""

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.engines import ENGINES
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.runners.adb import phones
from edgevit_runtimes.setup.emulated import COMMAND, WHEELS, check_tools, find_emulated
from edgevit_runtimes.setup.tflite import find_tflite

ARM_ENGINES = tuple(wheel.engine for wheel in WHEELS)


@dataclass(frozen=True, slots=True)
class Listed:
    """A device: its name for `--device`, its runtimes, and what brings what it lacks."""

    device: str
    state: Literal["ready", "missing"]
    engines: tuple[str, ...]
    how: str
    next: str | None = None


def list_all() -> tuple[Listed, ...]:
    """This machine, the phones that adb sees, a word on boards, and the emulated cores."""
    return (_local(), *_phones(), _boards(), *_emulated())


def _local() -> Listed:
    engines = [name for name, engine in ENGINES.items() if _installed(engine.packages[0])]
    if find_tflite() is not None:
        engines.append("tflite")
    facts = machine_facts()
    how = f"measured on {facts['cpu'] or facts['machine']}, {facts['usable_cores']} cores"
    if engines:
        return Listed("local", "ready", tuple(engines), how)
    return Listed("local", "missing", (), how, "pip install 'edgevit[all]'")


def _phones() -> list[Listed]:
    how = "measured by the native runner"
    lacking = _lacking(())
    try:
        found = phones()
    except (MissingRuntime, DeviceFailed) as error:
        return [Listed("adb", "missing", (), error.message.rstrip("."), error.next)]
    if not found:
        return [Listed("adb", "missing", (), "adb sees no phone", "adb devices")]
    return [
        Listed(f"adb:{phone.serial}", "missing", (), f"the phone is {phone.state}", "adb devices")
        if phone.state != "device"
        else Listed(
            f"adb:{phone.serial}",
            "ready" if lacking is None else "missing",
            ARM_ENGINES if lacking is None else (),
            how,
            lacking,
        )
        for phone in found
    ]


def _boards() -> Listed:
    """Boards are not looked for: each that ssh reaches is one."""
    lacking = _lacking(()) if shutil.which("ssh") else "Debian: apt-get install openssh-client"
    how = "any aarch64 board that ssh reaches without a password, measured by the native runner"
    if lacking is not None:
        return Listed("ssh:USER@HOST", "missing", (), how, lacking)
    return Listed("ssh:USER@HOST", "ready", ARM_ENGINES, how)


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _emulated() -> list[Listed]:
    lacking = _lacking(("qemu-aarch64", "setarch"))
    return [
        Listed(
            f"emulated:{core.name}",
            "ready" if lacking is None else "missing",
            ARM_ENGINES if lacking is None else (),
            f"counted, and estimated as in a {core.device} at {core.clock_ghz:g} GHz",
            lacking,
        )
        for core in CORES.values()
    ]


def _lacking(tools: tuple[str, ...]) -> str | None:
    """What brings the ARM libraries, or the tools that run them; None: all is there."""
    try:
        if find_emulated() is None:
            check_tools()  # all that setting up needs
            return COMMAND
        if tools:
            check_tools(tools)
    except MissingRuntime as error:
        return error.next
    return None
