"""One door to a file on any device: here, on an emulated core, on a board or on a phone."""

from pathlib import Path

from edgevit_runtimes.device import Device
from edgevit_runtimes.engines import Engine, chosen, open_session, versions
from edgevit_runtimes.errors import UnknownDevice
from edgevit_runtimes.runners import adb, emulated, remote, ssh
from edgevit_runtimes.runners.shell import Shell
from edgevit_runtimes.session import Session

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


def where(device: Device) -> str:
    """A device in a sentence after "on"."""
    match device.kind:
        case "local":
            return "this machine"
        case "emulated":
            return f"arm64 (emulated {device.address})"
        case _:
            return f"arm64 ({device})"
