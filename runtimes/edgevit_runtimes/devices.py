"""One door to a file on any device: here, on an emulated core, on a board or on a phone."""

from pathlib import Path

from edgevit_runtimes.device import HALF, Device, local_half
from edgevit_runtimes.engines import Engine, chosen, engine_of, open_session, versions
from edgevit_runtimes.errors import MissingRuntime, UnknownDevice, UnknownEngine
from edgevit_runtimes.runners import adb, emulated, remote, ssh
from edgevit_runtimes.runners.shell import Shell
from edgevit_runtimes.session import Session
from edgevit_runtimes.setup.emulated import require_emulated

LOCAL = Device("local")


def open_on(device: Device, path: Path, engine: str | None = None, threads: int = 1) -> Session:
    """Load a file on a device; raises as `open_session` and the device's runner do."""
    match device.kind:
        case "local":
            return open_session(path, engine, threads)
        case "emulated":
            core = device.address or ""
            return emulated.open_(path, chosen(path, engine), core, threads)
        case _:
            return remote.open_(shell_of(device), path, chosen(path, engine), threads)


def shell_of(device: Device) -> Shell:
    """The commands and files of a board or a phone.

    Raises `DeviceFailed` where a phone is not there or not ready, `UnknownDevice` for a device that
    takes none.
    """
    if device.kind == "ssh" and device.address is not None:
        return ssh.Ssh(device.address)
    if device.kind == "adb":
        return adb.choose(device.address)
    raise UnknownDevice(f"{device} takes no commands.")


def versions_on(device: Device, engine: Engine) -> dict[str, str]:
    """The packages that run an engine's files there, with their versions."""
    match device.kind:
        case "local":
            return versions(engine)
        case "emulated":
            return emulated.versions(engine)
        case _:
            return remote.versions(engine)


def can_run(device: Device, path: Path) -> bool:
    """Whether another device than this machine opens such files at all, by their suffix."""
    try:
        if device != LOCAL:
            versions_on(device, engine_of(path))
    except UnknownEngine:
        return False
    return True


def emulated_ready() -> bool:
    """Whether emulated devices are set up and their programs are there; starts nothing."""
    try:
        require_emulated()
    except MissingRuntime:
        return False
    return True


def check_ready(device: Device) -> None:
    """Raise what running a file there would raise before it begins: what is not set up or there."""
    if device.kind == "emulated":
        require_emulated()
    elif device != LOCAL:
        remote.require_programs()
        remote.check_machine(shell_of(device))


def computes_half(device: Device) -> bool:
    """Whether a device computes in halves what a file leaves it to; raises as `shell_of` does."""
    match device.kind:
        case "local":
            return local_half()
        case "emulated":
            return True  # each of CORES is an ARMv8.2 at least
        case _:
            return HALF in shell_of(device).run("cat /proc/cpuinfo").out.split()


def where(device: Device) -> str:
    """A device in a sentence after "on"."""
    match device.kind:
        case "local":
            return "this machine"
        case "emulated":
            return f"arm64 (emulated {device.address})"
        case _:
            return f"arm64 ({device})"
