"""What a bench measured: rows of raw samples, their percentiles, and the JSON they are kept in."""

from dataclasses import asdict, dataclass

import numpy as np

from edgevit_runtimes.counting import Accuracy, CountRow
from edgevit_runtimes.device import Device
from edgevit_runtimes.modes import MODES
from edgevit_runtimes.profiles import Operation
from edgevit_runtimes.timing import Timings, percentile_ms

# 2: `counted`, `peak_rss_kib`, `states`, `input_sha256`; 3: `mode`, `validity`, `minutes_p50_ms`,
# `kleidiai`, `profile`, `accuracy`
SCHEMA = 3
STEADY = 0.05  # MLPerf Mobile: repeatable within 5 %
TOO_WARM = "measured warmer than 35 C"
CLOCKS_MOVED = "clocks differ before and after"
FEW_SAMPLES = "fewer samples than asked for"
NO_WINNER = "spread over 5 %: no winner"

COVERS = {
    "native": "on a board or a phone the native runner is timed: nothing is imported, cold_load is "
    "from its library to a file that can run, warm from and to memory, and outputs are copied",
    "cold_import": "a fresh process imports the runtime's Python packages; not part of cold_load",
    "cold_load": "the same process opens the file (which the system may hold in memory), parses it "
    "and allocates, until it can run; without starting Python and without imports",
    "cold_first": "the first run in that process, from numpy inputs to numpy outputs",
    "warm": "one run in a long-lived process after warm-up, from numpy inputs to numpy outputs; no "
    "preprocessing and nothing after the file's own outputs",
    "peak_rss": "the most memory that a process held: on this machine that of the cold start, with "
    "Python and the runtime's packages; on a board or a phone the runner's, by the system's count",
    "counted": "instructions of one warm run on an emulated core, on one thread, from inputs in "
    "memory to outputs in memory; exact but for the runtimes' own randomness (0.01 %)",
    "estimate": "what those instructions would take on that core; never a measurement",
}


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How to measure; times in seconds."""

    threads: tuple[int, ...] = (1,)
    warmup: int = 3
    runs: int = 50
    min_secs: float = 1.0
    max_secs: float = 30.0
    repeat: int = 1
    mode: str = "standard"  # of MODES
    kleidiai: bool = True  # False: switched off
    profile: bool = False


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One file at one thread count: what each repeat measured."""

    file: str
    sha256: str
    engine: str
    versions: dict[str, str]
    threads: int
    cold_imports_s: tuple[float | None, ...]  # one a repeat; None where nothing is imported
    repeats: tuple[Timings, ...]
    flags: tuple[str, ...] = ()  # why it is no ground for a comparison, of any repeat
    states: tuple[tuple[dict[str, object], ...], ...] = ()  # a repeat: the device before and after
    peak_rss_kib: int | None = None
    input_sha256: str = ""  # of the inputs' bytes, in their order
    outputs_right: bool | None = None  # compared on the device before; None: nobody did
    kleidiai: str = "as built"  # or "on", "off" where the runtime has a switch
    profile: tuple[Operation, ...] | None = None  # None: not asked for, or the runtime has none
    accuracy: Accuracy | None = None

    @property
    def validity(self) -> dict[str, bool | None]:
        """Whether the row is a measurement at all; None where the device does not tell."""
        read = [state for states in self.states for state in states]
        # Only phones are held to a temperature: boards have no battery, and idle hotter.
        warmth = any(state.get("battery_level") is not None for state in read)
        clocks = any(state.get("most_mhz") for state in read)
        return {
            "enough_samples": FEW_SAMPLES not in self.flags,
            "cool_enough": TOO_WARM not in self.flags if warmth else None,
            "clocks_unchanged": CLOCKS_MOVED not in self.flags if clocks else None,
            "outputs_right": self.outputs_right,
        }

    @property
    def samples_s(self) -> tuple[float, ...]:
        """The warm samples of all repeats, in seconds."""
        return tuple(sample for timings in self.repeats for sample in timings.samples_s)

    @property
    def cold_load_ms(self) -> float:
        """Median over the repeats."""
        return percentile_ms([timings.cold_load_s for timings in self.repeats], 50)

    @property
    def cold_first_ms(self) -> float:
        """Median over the repeats."""
        return percentile_ms([timings.cold_first_s for timings in self.repeats], 50)

    def warm_ms(self) -> dict[str, float]:
        """p10, p50, p90, p99 and mean of all warm samples, in ms."""
        pooled = Timings(0.0, 0.0, self.samples_s)
        return {
            "p10": pooled.p10,
            "p50": pooled.p50,
            "p90": pooled.p90,
            "p99": pooled.p99,
            "mean": pooled.mean,
        }

    @property
    def spread(self) -> float | None:
        """(largest - smallest) / median of the repeats' medians; None for a single repeat."""
        medians = [timings.p50 for timings in self.repeats]
        if len(medians) < 2:
            return None
        return (max(medians) - min(medians)) / float(np.median(medians))

    @property
    def note(self) -> str | None:
        """Why this row is no ground for a comparison, if so."""
        unsteady = self.spread is not None and self.spread > STEADY
        return "; ".join([*([NO_WINNER] if unsteady else []), *self.flags]) or None

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return {
            "file": self.file,
            "sha256": self.sha256,
            "input_sha256": self.input_sha256,
            "engine": self.engine,
            "versions": dict(self.versions),
            "threads": self.threads,
            "cold_load_ms": self.cold_load_ms,
            "cold_first_ms": self.cold_first_ms,
            "warm_ms": self.warm_ms(),
            "spread": self.spread,
            "note": self.note,
            "validity": self.validity,
            "peak_rss_kib": self.peak_rss_kib,
            "accuracy": None if self.accuracy is None else dict(self.accuracy),
            "kleidiai": self.kleidiai,
            "profile": None if self.profile is None else [o.to_json() for o in self.profile],
            "states": [list(states) for states in self.states],
            "repeats": [
                {
                    "cold_import_s": import_s,
                    "cold_load_s": timings.cold_load_s,
                    "cold_first_s": timings.cold_first_s,
                    "p50_ms": timings.p50,
                    "minutes_p50_ms": list(timings.minutes_p50),
                    "samples_s": list(timings.samples_s),
                }
                for import_s, timings in zip(self.cold_imports_s, self.repeats, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything one `bench` measured, and on what."""

    device: Device
    machine: dict[str, object]
    settings: BenchSettings
    rows: tuple[BenchRow, ...]
    counted: tuple[CountRow, ...] = ()  # on an emulated core, where nothing is timed

    @property
    def notes(self) -> tuple[str, ...]:
        """The rows' notes, each with its file and thread count."""
        timed = [f"{row.file}, threads {row.threads}: {row.note}" for row in self.rows if row.note]
        looked = self.rows and self.settings.mode == "quick"  # counts are exact in any mode
        quick = [f"--mode quick: {MODES['quick'].meaning}"] if looked else []
        return (*quick, *timed, *(f"{row.file}: {row.note}" for row in self.counted if row.note))

    def to_json(self) -> dict[str, object]:
        """JSON values only, raw samples included."""
        return {
            "schema": SCHEMA,
            "kind": "edgevit-bench",
            "device": str(self.device),
            "machine": dict(self.machine),
            "settings": {**asdict(self.settings), "threads": list(self.settings.threads)},
            "covers": dict(COVERS),
            "rows": [row.to_json() for row in self.rows],
            "counted": [row.to_json() for row in self.counted],
            "notes": list(self.notes),
        }
