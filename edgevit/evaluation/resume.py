"""Resuming an interrupted evaluation: its counts are kept in a small JSON file."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from edgevit.bundle.sealing import uninterrupted, whole_file
from edgevit.evaluation.metrics.tally import State

VERSION = 1  # of what is kept, and of how it is counted
SAVE_SECS = 10.0
MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Kept:
    """The saved progress of an evaluation."""

    done: int  # samples
    states: Mapping[str, State]  # by predictor
    left_out: int = 0  # of the samples, because a calibration saw them


class Resume:
    """The file that keeps one evaluation's state. It fits that evaluation alone: its key is the
    hash of everything that decides the result.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self.saved = monotonic()

    def load(self) -> tuple[Kept | None, str]:
        """The saved progress, and a message if a state file exists but cannot be resumed."""
        if not self.path.exists():
            return None, ""
        try:
            if not self.path.is_file() or self.path.stat().st_size > MOST_BYTES:
                raise ValueError("no file of ours")
            content = json.loads(self.path.read_bytes(), parse_constant=_no_constant)
            if content["version"] != VERSION or content["key"] != self.key:
                return None, f"{self.path.name} belongs to another evaluation; starting again."
            done, states, out = content["done"], content["states"], content["left_out"]
            if type(done) is not int or done < 1 or not isinstance(states, dict):
                raise ValueError("no state")
            if type(out) is not int or not 0 <= out <= done:
                raise ValueError("no count")
            return Kept(done, states, out), ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None, f"{self.path.name} is damaged; starting again."

    def save(self, kept: Kept) -> None:
        """Write it, whole or not at all."""
        content = {
            "version": VERSION,
            "key": self.key,
            "done": kept.done,
            "left_out": kept.left_out,
            "states": dict(kept.states),
        }
        with uninterrupted(), whole_file(self.path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
        self.saved = monotonic()

    def save_sometimes(self, kept: Kept) -> None:
        """`save`, where the last time is a while ago."""
        if monotonic() - self.saved >= SAVE_SECS:
            self.save(kept)

    def remove(self) -> None:
        """The evaluation is finished, or cannot be."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def key_of(*parts: object) -> str:
    """sha256 of values that decide a result, each with a faithful repr."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def state_path(bundle: Path, key: str) -> Path:
    """The hidden state file next to a bundle; inside, it would break the seal."""
    place = bundle.resolve()
    return place.parent / f".{place.name}.eval-{key[:12]}.json"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
