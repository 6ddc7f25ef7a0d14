"""One repeat of a measurement, on this machine or on another device."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from edgevit_runtimes.device import Device
from edgevit_runtimes.engines import Engine
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.profiles import RUNS, WARMUP, Operation, profile_here, read_profile
from edgevit_runtimes.result import CLOCKS_MOVED, FEW_SAMPLES, TOO_WARM
from edgevit_runtimes.runners import local, remote
from edgevit_runtimes.runners.native import PROFILE, Asked
from edgevit_runtimes.runners.remote import OpenThere
from edgevit_runtimes.runners.shell import Shell
from edgevit_runtimes.runners.state import local_state, read_state
from edgevit_runtimes.session import Array
from edgevit_runtimes.timing import Progress, Timings

# A phone whose battery is warmer has begun to slow down, or will (the gate of the best published
# mobile protocols). Boards have no battery and idle hotter: they are not held up.
COOL_C = 35.0
GATE_SECS = 600.0
GATE_STEP_SECS = 10.0
CLOCK_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Repeat:
    """What one repeat measured. import_s: None where nothing is imported.

    flags: why it is no ground for a comparison; states: the device before and after.
    """

    import_s: float | None
    timings: Timings
    flags: tuple[str, ...] = ()
    states: tuple[dict[str, object], ...] = field(default=())
    peak_rss_kib: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be measured: a file with its inputs, and how; times in seconds."""

    path: Path
    engine: Engine
    inputs: Sequence[Array]
    threads: int
    warmup: int
    runs: int
    min_secs: float
    max_secs: float
    settings: Mapping[str, str] = field(default_factory=dict)  # the runtime's own


class Meter(Protocol):
    """Measures repeats on one device."""

    def repeat(self, job: Job, progress: Progress | None = None) -> Repeat:
        """One cold start and the warm runs after it."""
        ...

    def profile(self, job: Job) -> tuple[Operation, ...]:
        """The operations of a file whose runtime has a profile, in a run that is not timed."""
        ...


class Here:
    """This machine: the cold start in a process of its own, the warm runs in this one."""

    def __init__(self, engine: str | None) -> None:
        """engine: as the user named it."""
        self._engine = engine

    def repeat(self, job: Job, progress: Progress | None = None) -> Repeat:
        """One cold start and the warm runs after it."""
        before = local_state()
        cold = local.cold_start(
            job.path, job.inputs, job.threads, engine=self._engine, settings=job.settings
        )
        samples = local.warm(
            job.path, job.inputs, job.threads, job.warmup, job.runs, job.min_secs, job.max_secs,
            progress, self._engine, job.settings,
        )  # fmt: skip
        after = local_state()
        states = (before, after) if before is not None and after is not None else ()
        return Repeat(
            cold.import_s,
            Timings(cold.load_s, cold.first_s, samples),
            _flags(job, len(samples), before or {}, after or {}, None),
            states,
            cold.peak_rss_kib,
        )

    def profile(self, job: Job) -> tuple[Operation, ...]:
        """The operations of a .onnx file."""
        return profile_here(job.path, job.inputs, job.threads, job.settings)


class There:
    """A board or a phone: each repeat is a process of the native runner."""

    def __init__(self, shell: Shell, stack: ExitStack, cool_c: float | None) -> None:
        """cool_c: how warm the device may be before a repeat; None: no gate."""
        self._shell, self._stack, self._cool_c = shell, stack, cool_c
        self._opened: dict[Path, OpenThere] = {}
        # By file and thread count: how work is divided may change the last bits.
        self._outputs: dict[tuple[Path, int], list[Array]] = {}

    def repeat(self, job: Job, progress: Progress | None = None) -> Repeat:
        """One cold start and the warm runs after it; waits first until the device is cool.

        Raises `RunFailed` where the outputs are not those of the repeat before, and as
        `runners.remote` does.
        """
        opened = self._open(job)
        before = self._cool(read_state(self._shell))
        asked = Asked(
            job.threads, job.warmup, job.runs, job.min_secs, job.max_secs, settings=job.settings
        )
        told, outputs = opened.run(asked, job.inputs)
        after = read_state(self._shell)
        known = self._outputs.setdefault((job.path, job.threads), outputs)
        if not all(np.array_equal(a, b) for a, b in zip(known, outputs, strict=True)):
            raise RunFailed(f"{job.path.name} gave other outputs in another repeat.")
        if progress is not None:
            progress(job.runs, job.runs)
        return Repeat(
            None,
            Timings(
                told.load_ns / 1e9,
                (told.first_ns or 0) / 1e9,
                tuple(sample / 1e9 for sample in told.samples_ns),
            ),
            _flags(job, len(told.samples_ns), before, after, self._cool_c),
            (before, after),
            told.peak_rss_kib,
        )

    def profile(self, job: Job) -> tuple[Operation, ...]:
        """The operations of a .onnx file, by a run of its own."""
        opened = self._open(job)
        # The first run and these are all in it.
        asked = Asked(
            job.threads,
            WARMUP - 1,
            RUNS,
            max_secs=job.max_secs,
            settings=job.settings,
            profile=True,
        )
        opened.run(asked, job.inputs)
        with tempfile.TemporaryDirectory(prefix="edgevit-profile-") as folder:
            path = Path(folder) / PROFILE
            self._shell.pull(f"{opened.place.folder}/{PROFILE}", path)
            return read_profile(path, job.path.name)

    def _open(self, job: Job) -> OpenThere:
        if job.path not in self._opened:
            place = self._stack.enter_context(remote.placed(self._shell, job.engine))
            self._opened[job.path] = remote.opened(place, job.path, job.engine, job.threads)
        return self._opened[job.path]

    def _cool(self, state: dict[str, object]) -> dict[str, object]:
        """Wait, for at most GATE_SECS, until the device is cool enough."""
        waited = 0.0
        while self._cool_c is not None and _warmer(state, self._cool_c) and waited < GATE_SECS:
            time.sleep(GATE_STEP_SECS)
            waited += GATE_STEP_SECS
            state = read_state(self._shell)
        return state


@contextmanager
def meter(device: Device, shell: Callable[[], Shell], engine: str | None) -> Iterator[Meter]:
    """What measures on a device; what was sent there is removed in the end."""
    if device.kind == "local":
        yield Here(engine)
        return
    with ExitStack() as stack:
        yield There(shell(), stack, COOL_C if device.kind == "adb" else None)


def _warmer(state: dict[str, object], than: float) -> bool:
    degrees = state.get("temperature_c")
    return isinstance(degrees, float) and degrees > than


def _flags(
    job: Job,
    samples: int,
    before: dict[str, object],
    after: dict[str, object],
    cool_c: float | None,
) -> tuple[str, ...]:
    flags = []
    if samples < job.runs:
        flags.append(FEW_SAMPLES)
    if cool_c is not None and _warmer(before, cool_c):
        flags.append(TOO_WARM)
    if _clocks_moved(before.get("most_mhz"), after.get("most_mhz")):
        flags.append(CLOCKS_MOVED)
    return tuple(flags)


def _clocks_moved(before: object, after: object) -> bool:
    """Whether the clocks that the device allows its cores changed; idle ones always move."""
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return before != after
    return any(
        isinstance(a, float) and isinstance(b, float) and abs(a - b) > CLOCK_SHARE * a
        for a, b in zip(before, after, strict=True)
    )
