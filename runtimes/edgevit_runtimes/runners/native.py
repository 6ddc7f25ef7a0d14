"""What the native runner (runtimes/native/runner) is told, and what it tells."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.estimate.symbols import Mapped
from edgevit_runtimes.session import Array, Port
from edgevit_runtimes.sessions.litert import NUMBERED
from edgevit_runtimes.sessions.opened import fixed_port

PROFILE = "profile"
MOST_LINE = 1 << 20  # characters of one event


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments of one run; times in seconds."""

    threads: int = 1
    warmup: int = 0
    runs: int = 1
    min_secs: float = 0.0
    max_secs: float = 600.0
    marks: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)  # the runtime's own
    profile: bool = False  # of its operations, into a file `profile`
    cpu_mask: str | None = None

    def words(
        self,
        model: PurePath | str,
        library: PurePath | str | None,
        inputs: Sequence[PurePath | str] = (),
        outputs: Sequence[PurePath | str] = (),
    ) -> list[str]:
        """The command line after the program; without inputs the file is only described."""
        words = ["--model", str(model), "--threads", str(self.threads)]
        if library is not None:
            words += ["--library", str(library)]
        if not inputs:
            return [*words, "--describe"]
        words += ["--warmup", str(self.warmup), "--runs", str(self.runs)]
        words += ["--min-secs", repr(self.min_secs), "--max-secs", repr(self.max_secs)]
        words += [word for path in inputs for word in ("--input", str(path))]
        words += [word for path in outputs for word in ("--output", str(path))]
        for name, value in self.settings.items():
            words += ["--setting", f"{name}={value}"]
        if self.profile:
            words += ["--profile", PROFILE]
        if self.marks:
            words.append("--marks")
        if self.cpu_mask is not None:
            words += ["--cpu-mask", self.cpu_mask]
        return words


@dataclass(frozen=True, slots=True)
class Told:
    """What a run told; times in nanoseconds. `done`: it came to its end."""

    version: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    load_ns: int
    first_ns: int | None = None
    samples_ns: tuple[int, ...] = field(default=())
    peak_rss_kib: int | None = None
    done: bool = False
    maps: tuple[Mapped, ...] = ()


def read_told(lines: Iterable[str], file: str) -> Told:
    """Read the events of a run, also of one that was broken off.

    Raises `RunFailed` with the runner's own sentence where it failed, and where it told nothing.
    """
    opened: dict[str, Any] | None = None
    told: dict[str, Any] = {}
    samples: list[int] = []
    for line in lines:
        event = _event(line)
        match event.get("event"):
            case "opened":
                opened = event
            case "first":
                told["first_ns"] = int(event["ns"])
            case "samples":
                samples += [int(sample) for sample in event["ns"]]
            case "maps":
                told["maps"] = tuple(_mapped(entry) for entry in event.get("maps", ()))
            case "done":
                told |= {"peak_rss_kib": int(event["peak_rss_kib"]), "done": True}
            case "failed":
                message = str(event.get("message")).rstrip(".")
                raise RunFailed(f"{file}: {message}.", next="edgevit export MODEL -o DIR")
    if opened is None:
        raise RunFailed(f"The program that was to run {file} told nothing.")
    try:
        return Told(
            version=str(opened["version"]),
            inputs=_ports(opened["inputs"], file),
            outputs=_ports(opened["outputs"], file),
            load_ns=int(opened["load_ns"]),
            samples_ns=tuple(samples),
            **told,
        )
    except (KeyError, TypeError, ValueError):
        raise RunFailed(f"The program that was to run {file} told something unknown.") from None


def order_of(ports: Sequence[Port]) -> list[int]:
    """The places of ports in the order in which the network had them.

    A LiteRT signature is a map sorted by name, where output_10 comes before output_2.
    """
    places = list(range(len(ports)))
    if all(NUMBERED.fullmatch(port.name) for port in ports):
        places.sort(key=lambda place: int(ports[place].name.rpartition("_")[2]))
    return places


def arranged(arrays: Sequence[Array], places: Sequence[int]) -> list[Array]:
    """Arrays in the network's order, brought into the file's."""
    ordered = list(arrays)
    for array, place in zip(arrays, places, strict=True):
        ordered[place] = array
    return ordered


def _event(line: str) -> dict[str, Any]:
    """An event; anything else that a library printed is none."""
    if not line.startswith("{") or len(line) > MOST_LINE:
        return {}
    try:
        event = json.loads(line)
    except ValueError:  # the last line of a device that was lost
        return {}
    return event if isinstance(event, dict) else {}


def _mapped(entry: dict[str, Any]) -> Mapped:
    try:
        return Mapped(
            int(entry["start"]), int(entry["end"]), int(entry["offset"]), str(entry["path"])
        )
    except (KeyError, TypeError, ValueError):
        return Mapped(0, 0, 0, "")


def _ports(described: list[dict[str, Any]], file: str) -> tuple[Port, ...]:
    return tuple(
        fixed_port(str(port["name"]), list(port["shape"]), str(port["dtype"]), file)
        for port in described
    )
