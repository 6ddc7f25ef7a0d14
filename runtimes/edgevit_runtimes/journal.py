"""What a measurement has so far, a JSON line for each repeat: a lost device costs one repeat."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevit_runtimes.errors import BadSetting, DeviceFailed
from edgevit_runtimes.meters import Repeat
from edgevit_runtimes.timing import Timings

KIND = "edgevit-bench-journal"
MOST_BYTES = 1 << 28

Key = tuple[int, int, int]  # file, threads, turn


@dataclass(frozen=True, slots=True)
class Journal:
    """A file of JSON lines beside the result: what is measured first, then a line a repeat."""

    path: Path
    head: Mapping[str, object]  # what makes two measurements one: device, settings, hashes

    def begin(self) -> None:
        """Start anew; raises `DeviceFailed` where it cannot be written."""
        self._write("w", {"kind": KIND, **self.head})

    def add(self, key: Key, repeat: Repeat) -> None:
        """Append a repeat, on the disk before the next one begins."""
        file, threads, turn = key
        timings = repeat.timings
        self._write(
            "a",
            {
                "file": file,
                "threads": threads,
                "turn": turn,
                "import_s": repeat.import_s,
                "load_s": timings.cold_load_s,
                "first_s": timings.cold_first_s,
                "samples_s": list(timings.samples_s),
                "flags": list(repeat.flags),
                "states": list(repeat.states),
                "peak_rss_kib": repeat.peak_rss_kib,
            },
        )

    def known(self) -> dict[Key, Repeat]:
        """The repeats that are there; a line that was broken off counts as none.

        Raises `BadSetting` where there is no journal, or one of another measurement.
        """
        try:
            if self.path.stat().st_size > MOST_BYTES:
                raise BadSetting(f"{self.path.name} has more than {MOST_BYTES} bytes.")
            lines = self.path.read_text("utf-8", errors="replace").splitlines()
        except OSError:
            raise BadSetting(
                f"There is nothing to go on with: {self.path} does not exist.",
                next="the same command without --resume",
            ) from None
        head = _object(lines[0]) if lines else {}
        if head != json.loads(json.dumps({"kind": KIND, **self.head})):
            raise BadSetting(
                f"{self.path.name} is of other files, settings or another device.",
                next="the same command without --resume, which begins anew",
            )
        repeats: dict[Key, Repeat] = {}
        for line in lines[1:]:
            entry = _object(line)
            try:
                key = (int(entry["file"]), int(entry["threads"]), int(entry["turn"]))
                repeats[key] = _repeat(entry)
            except (KeyError, TypeError, ValueError):
                continue
        return repeats

    def end(self) -> None:
        """Remove it: the result is written."""
        self.path.unlink(missing_ok=True)

    def _write(self, mode: str, entry: Mapping[str, object]) -> None:
        try:
            with self.path.open(mode, encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise DeviceFailed(
                f"{self.path} cannot be written: {error.strerror or error}.", next="df -h"
            ) from error


def _object(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _repeat(entry: dict[str, Any]) -> Repeat:
    samples = tuple(float(sample) for sample in entry["samples_s"])
    imported, peak = entry["import_s"], entry["peak_rss_kib"]
    return Repeat(
        None if imported is None else float(imported),
        Timings(float(entry["load_s"]), float(entry["first_s"]), samples),
        tuple(str(flag) for flag in entry["flags"]),
        tuple(dict(state) for state in entry["states"]),
        None if peak is None else int(peak),
    )
