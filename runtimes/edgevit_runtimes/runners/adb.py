"""An Android phone through the system's adb, unrooted."""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.runners.shell import COMMAND_SECS, COPY_SECS, Answer, followed, started
from edgevit_runtimes.runners.ssh import refused

# adb's own exit code says nothing sure of the command's: old phones return 0, and a lost phone 1.
DONE = re.compile(r"edgevit-exit:([0-9]{1,3})\s*$")
LISTED = re.compile(r"^(\S+)\s+(device|unauthorized|offline|no permissions|recovery|bootloader)\b")
STATES = {
    "unauthorized": (
        "has not allowed this computer: unlock it and accept the question",
        "adb devices",
    ),
    "offline": ("does not answer", "adb reconnect"),
    "no permissions": ("may not be opened by this user (udev rules are missing)", "adb devices"),
    "recovery": ("is in recovery mode", "adb reboot"),
    "bootloader": ("is in its bootloader", "fastboot reboot"),
}


@dataclass(frozen=True, slots=True)
class Phone:
    """A line of `adb devices`."""

    serial: str
    state: str


@dataclass(frozen=True, slots=True)
class Adb:
    """A phone as a `Shell`."""

    serial: str

    @property
    def name(self) -> str:
        """The device in a sentence."""
        return f"the phone {self.serial}"

    @property
    def temporary(self) -> str:
        """The folder that an unrooted shell may execute programs in."""
        return "/data/local/tmp"

    def run(self, command: str, secs: float = COMMAND_SECS) -> Answer:
        """Run a shell command there; raises `DeviceFailed` where the phone is not reached."""
        done = started(self._command("shell", _marked(command)), secs, self.name)
        out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        found = DONE.search(out)
        if found is None:
            raise self._lost(err or out)
        return Answer(int(found[1]), out[: found.start()].replace("\r\n", "\n"), err)

    def push(self, local: Path, remote: str) -> None:
        """Write a file there."""
        self._copy("push", str(local), remote, f"write {remote}")

    def pull(self, remote: str, local: Path) -> None:
        """Read a file from there."""
        self._copy("pull", remote, str(local), f"read {remote}")

    def follow(self, command: str, each: Callable[[str], None], secs: float) -> int:
        """Run a command and hand over its lines as they come; its exit code."""
        last: list[str] = []

        def line(text: str) -> None:
            found = DONE.search(text)
            if found is not None:
                last.append(found[1])
                text = text[: found.start()]
            if text.strip():
                each(text.rstrip("\r"))

        _, said = followed(self._command("shell", _marked(command)), line, secs, self.name)
        if not last:
            raise self._lost(said)
        return int(last[-1])

    def _command(self, *words: str) -> list[str]:
        return [_program(), "-s", self.serial, *words]

    def _copy(self, verb: str, source: str, target: str, what: str) -> None:
        done = started(self._command(verb, source, target), COPY_SECS, self.name)
        said = (done.stderr + done.stdout).decode(errors="replace")
        if done.returncode == 0:
            return
        if re.search(r"not found|offline|unauthorized|no devices|closed|daemon", said):
            raise self._lost(said)
        raise refused(self.name, what, said)

    def _lost(self, said: str) -> DeviceFailed:
        if "unauthorized" in said:
            return _unusable(Phone(self.serial, "unauthorized"))
        if re.search(r"daemon|server", said):
            return DeviceFailed("The adb server is gone.", next="adb start-server")
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        last = lines[-1] if lines else "adb said nothing"
        last = last.removeprefix("adb: ").removeprefix("error: ").rstrip(".")
        return DeviceFailed(
            f"{self.name[0].upper()}{self.name[1:]} was lost: {last}.", next="adb devices"
        )


def phones() -> tuple[Phone, ...]:
    """What adb sees; raises `MissingRuntime` without adb, `DeviceFailed` where it does not work."""
    done = started([_program(), "devices"], COMMAND_SECS, "adb")
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        last = said[-1].rstrip(".") if said else "it said nothing"
        raise DeviceFailed(f"adb does not work: {last}.", next="adb start-server")
    found = (LISTED.match(line) for line in done.stdout.decode(errors="replace").splitlines()[1:])
    return tuple(Phone(match[1], match[2]) for match in found if match)


def choose(serial: str | None) -> Adb:
    """The phone of a serial, or the only one; raises `DeviceFailed` in one sentence otherwise."""
    listed = phones()
    if serial is None:
        ready = [phone for phone in listed if phone.state == "device"]
        if len(ready) > 1:
            names = " and ".join(phone.serial for phone in ready)
            raise DeviceFailed(
                f"There are {len(ready)} phones, {names}: name one.",
                next=f"--device adb:{ready[0].serial}",
            )
        if ready:
            return Adb(ready[0].serial)
        if listed:
            raise _unusable(listed[0])
        raise DeviceFailed(
            "adb sees no phone. USB debugging must be on (Settings, Developer options).",
            next="adb devices",
        )
    for phone in listed:
        if phone.serial == serial:
            if phone.state != "device":
                raise _unusable(phone)
            return Adb(serial)
    others = ", ".join(phone.serial for phone in listed) or "none"
    raise DeviceFailed(f"adb sees no phone {serial}; it sees {others}.", next="adb devices")


def _unusable(phone: Phone) -> DeviceFailed:
    why, following = STATES.get(phone.state, (f"is {phone.state}", "adb devices"))
    return DeviceFailed(f"The phone {phone.serial} {why}.", next=following)


def _program() -> str:
    program = shutil.which("adb")
    if program is None:
        raise MissingRuntime(
            "adb, which reaches phones, is not installed.", next="Debian: apt-get install adb"
        )
    return program


def _marked(command: str) -> str:
    return f"sh -c {shlex.quote(command)}; echo edgevit-exit:$?"
