"""Measures how long a call takes, and compares two calls with an interval."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from edgevit_runtimes.errors import BadSetting

Run = Callable[[], object]
Timed = Callable[[], int]  # runs once and returns its nanoseconds
Progress = Callable[[int, int], None]

TICK_NS = (
    100_000_000  # progress at most ten times a second: drawing it must not disturb what is timed
)
DRAWN = 20_000  # samples that resampling holds at once: what a cache holds is faster


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds a fresh process took to import the runtime, load the file, and run it once."""

    import_s: float
    load_s: float
    first_s: float
    peak_rss_kib: int | None = None  # of that process, Python and the runtime's packages with it


@dataclass(frozen=True, slots=True)
class Timings:
    """One repeat: the cold start in a fresh process, and the warm samples, in seconds."""

    cold_load_s: float
    cold_first_s: float
    samples_s: tuple[float, ...]

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the warm samples in ms, interpolated linearly; NaN without samples."""
        return percentile_ms(self.samples_s, percent)

    @property
    def p10(self) -> float:
        """10th percentile in ms."""
        return self.percentile_ms(10)

    @property
    def p50(self) -> float:
        """Median in ms."""
        return self.percentile_ms(50)

    @property
    def p90(self) -> float:
        """90th percentile in ms."""
        return self.percentile_ms(90)

    @property
    def p99(self) -> float:
        """99th percentile in ms."""
        return self.percentile_ms(99)

    @property
    def mean(self) -> float:
        """Mean in ms."""
        return 1e3 * float(np.mean(self.samples_s)) if self.samples_s else float("nan")

    @property
    def minutes_p50(self) -> tuple[float, ...]:
        """The median in ms of every whole minute of running; () where there is none."""
        minute = np.cumsum(self.samples_s) // 60
        whole = range(int(minute[-1])) if len(minute) else ()
        samples = np.asarray(self.samples_s)
        return tuple(1e3 * float(np.median(samples[minute == m])) for m in whole if m in minute)


def percentile_ms(samples_s: Sequence[float], percent: float) -> float:
    """A percentile in ms of samples in seconds, interpolated linearly; NaN without samples."""
    return 1e3 * float(np.percentile(samples_s, percent)) if len(samples_s) else float("nan")


def measure(
    timed: Timed,
    warmup: int,
    runs: int,
    min_secs: float,
    max_secs: float,
    progress: Progress | None = None,
) -> tuple[float, ...]:
    """Seconds of each timed call: at least `runs` of them over at least `min_secs`.

    `max_secs` bounds warm-up and timed calls together and wins over the other three: no call is
    started that would end later if it took as long as the one before, except the first of each. The
    warm-up takes at most half of it. Python's garbage collector is off meanwhile. `progress(done,
    runs)` is called between calls; where the time decides, `done` is its share of `runs`.
    """
    with _steady():
        start = perf_counter_ns()
        end = start + round(max_secs * 1e9)
        half = start + round(max_secs * 5e8)
        for _ in range(warmup):
            before = perf_counter_ns()
            timed()
            after = perf_counter_ns()
            if 2 * after - before > half:
                break
        samples: list[int] = []
        first = shown = perf_counter_ns()
        while True:
            before = perf_counter_ns()
            samples.append(timed())
            after = perf_counter_ns()
            if progress is not None and after - shown > TICK_NS:
                passed = (after - first) / (min_secs * 1e9) if min_secs else 1.0
                progress(int(min(len(samples), runs * passed, runs)), runs)
                shown = after
            if len(samples) >= runs and after - first >= min_secs * 1e9:
                break
            if 2 * after - before > end:
                break
    if progress is not None:
        progress(runs, runs)
    return tuple(ns / 1e9 for ns in samples)


def interleave(
    candidates: Mapping[str, Run],
    rounds: int,
    warmup: int = 1,
    progress: Progress | None = None,
) -> dict[str, tuple[float, ...]]:
    """Seconds of `rounds` calls of each candidate, in turns, in one process.

    Each round starts one candidate later than the round before, so that none always runs after the
    same neighbour; sample i of every candidate is of round i, as `ratio_interval` needs it.
    """
    names = list(candidates)
    if not names or rounds < 1:
        raise BadSetting("Interleaving needs at least one candidate and one round.")
    samples: dict[str, list[float]] = {name: [] for name in names}
    with _steady():
        for name in names * warmup:
            candidates[name]()
        for done in range(rounds):
            turn = done % len(names)
            for name in names[turn:] + names[:turn]:
                run = candidates[name]
                before = perf_counter_ns()
                run()
                samples[name].append((perf_counter_ns() - before) / 1e9)
            if progress is not None:
                progress(done + 1, rounds)
    return {name: tuple(values) for name, values in samples.items()}


def ratio_interval(
    a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """median(a) / median(b), and the lower and upper end of its 95 % interval.

    Percentile bootstrap over rounds (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13): a resample draws rounds with replacement, and takes both samples of each, so that
    what slowed a whole round cancels. Raises `BadSetting` unless both hold one sample a round.
    """
    if len(a) != len(b) or not a or resamples < 1:
        raise BadSetting(
            f"A paired comparison needs equally many samples of both, not {len(a)} and {len(b)}."
        )
    pairs = np.asarray([a, b], dtype=np.float64)
    if not np.isfinite(pairs).all() or (pairs <= 0).any():
        raise BadSetting("A paired comparison needs positive, finite times.")
    generator = np.random.default_rng(seed)
    ratios: list[float] = []
    at_once = max(1, DRAWN // len(a))
    while len(ratios) < resamples:
        count = min(at_once, resamples - len(ratios))
        rounds = generator.integers(len(a), size=(count, len(a)))
        drawn = np.median(pairs[:, rounds], axis=2)
        ratios += (drawn[0] / drawn[1]).tolist()
    low, high = np.percentile(ratios, (2.5, 97.5))
    middle = np.median(pairs, axis=1)
    return float(middle[0] / middle[1]), float(low), float(high)


@contextmanager
def _steady() -> Iterator[None]:
    """Collect garbage now, and not while something is timed."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
