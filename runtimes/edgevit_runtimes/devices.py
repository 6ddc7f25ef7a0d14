"""One door to a file on any device: here, or on an emulated core."""

from pathlib import Path

from edgevit_runtimes.device import Device, require_runner
from edgevit_runtimes.engines import Engine, chosen, open_session, versions
from edgevit_runtimes.runners import emulated
from edgevit_runtimes.session import Session

LOCAL = Device("local")


def open_on(device: Device, path: Path, engine: str | None = None, threads: int = 1) -> Session:
    """Load a file on a device; raises as `open_session` and the device's runner do."""
    if device.kind == "emulated" and device.address is not None:
        return emulated.open_(path, chosen(path, engine), device.address, threads)
    require_runner(device)
    return open_session(path, engine, threads)


def versions_on(device: Device, engine: Engine) -> dict[str, str]:
    """The packages that run an engine's files there, with their versions."""
    return emulated.versions(engine) if device.kind == "emulated" else versions(engine)


def where(device: Device) -> str:
    """A device in a sentence after "on"."""
    if device.kind == "emulated":
        return f"arm64 (emulated {device.address})"
    return "this machine" if device.kind == "local" else str(device)
