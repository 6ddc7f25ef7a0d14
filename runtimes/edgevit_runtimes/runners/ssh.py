"""A board over the network, through the system's ssh and the user's own configuration of it."""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.runners.shell import COMMAND_SECS, COPY_SECS, Answer, followed, started

CONNECT_SECS = 10
LOST = 255  # ssh's own exit code; a command's would be taken for it, and none here exits so
# Never asks: a password or an unknown key would hang a script.
OPTIONS = (
    *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECS}"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-T"),
)

# What ssh says, and what the user can do about it.
CAUSES = (
    (r"Permission denied", "does not let this user in without a password", "ssh-copy-id {host}"),
    (r"Host key verification failed", "is not known to ssh, or its key changed", "ssh {host} true"),
    (r"Could not resolve", "is no host that can be found", "ssh -v {host} true"),
    (r"Connection refused", "has no ssh server that answers", "ssh -v {host} true"),
    (r"timed out|Timeout|not responding", "does not answer", "ping {bare}"),
    (r"No route|unreachable", "cannot be reached from here", "ping {bare}"),
)


@dataclass(frozen=True, slots=True)
class Ssh:
    """A board as a `Shell`; host: USER@HOST."""

    host: str

    @property
    def name(self) -> str:
        """The device in a sentence."""
        return self.host

    @property
    def temporary(self) -> str:
        """Its folder of temporary files."""
        return "${TMPDIR:-/tmp}"

    def run(self, command: str, secs: float = COMMAND_SECS) -> Answer:
        """Run a shell command there; raises `DeviceFailed` where the board is not reached."""
        done = started(self._command(command), secs, self.name)
        answer = Answer(
            done.returncode,
            done.stdout.decode(errors="replace"),
            done.stderr.decode(errors="replace"),
        )
        self._require(answer.code, answer.err)
        return answer

    def push(self, local: Path, remote: str) -> None:
        """Write a file there, through the shell: boards without an sftp server have that."""
        with local.open("rb") as stream:
            done = started(
                self._command(f"cat > {shlex.quote(remote)}"), COPY_SECS, self.name, stream
            )
        said = done.stderr.decode(errors="replace")
        self._require(done.returncode, said)
        if done.returncode != 0:
            raise refused(self.name, f"write {remote}", said)

    def pull(self, remote: str, local: Path) -> None:
        """Read a file from there."""
        done = started(self._command(f"cat {shlex.quote(remote)}"), COPY_SECS, self.name)
        said = done.stderr.decode(errors="replace")
        self._require(done.returncode, said)
        if done.returncode != 0:
            raise refused(self.name, f"read {remote}", said)
        local.write_bytes(done.stdout)

    def follow(self, command: str, each: Callable[[str], None], secs: float) -> int:
        """Run a command and hand over its lines as they come; its exit code."""
        code, said = followed(self._command(command), each, secs, self.name)
        self._require(code, said)
        return code

    def _command(self, command: str) -> list[str]:
        program = shutil.which("ssh")
        if program is None:
            raise MissingRuntime(
                "ssh, which reaches boards, is not installed.",
                next="Debian: apt-get install openssh-client",
            )
        return [program, *OPTIONS, self.host, "--", command]

    def _require(self, code: int, said: str) -> None:
        if code == LOST:
            raise _lost(self.host, said)


def _lost(host: str, said: str) -> DeviceFailed:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for pattern, why, following in CAUSES:
        if re.search(pattern, said):
            bare = host.rpartition("@")[2]
            return DeviceFailed(f"{host} {why}.", next=following.format(host=host, bare=bare))
    last = lines[-1].rstrip(".") if lines else "ssh said nothing"
    return DeviceFailed(f"The connection to {host} was lost: {last}.", next=f"ssh {host} true")


def refused(device: str, what: str, said: str) -> DeviceFailed:
    """A file that the device does not take or give."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1].rstrip(".") if lines else "no reason given"
    full = "No space left" in said
    return DeviceFailed(
        f"{device} has no space left." if full else f"{device} could not {what}: {last}.",
        next="free some space there" if full else None,
    )
