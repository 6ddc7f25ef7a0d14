"""A measurement as rows."""

from pathlib import Path

from edgevit_runtimes.counting import CountRow
from edgevit_runtimes.estimate.kinds import KINDS
from edgevit_runtimes.result import BenchResult

COLUMNS = (
    *("file", "threads", "load", "first", "p10", "p50", "p90", "p99", "mean"),
    *("samples", "remark"),
)
MINUTE_COLUMNS = ("file", "threads", "first minute", "last minute", "slowest", "minutes")
PROFILE_COLUMNS = ("file", "threads", "operation", "kind", "ms", "share")
SLOWEST = 10  # operations of a file that are shown; the JSON has all
COUNT_COLUMNS = ("file", "M instructions", *KINDS, "remark")
ESTIMATE_COLUMNS = ("file", "peak bound, ms", "computing, ms", "with memory, ms", "model")


def bench_rows(result: BenchResult) -> list[list[str]]:
    """A row of `COLUMNS` a file and thread count, times in milliseconds."""
    return [
        [
            Path(row.file).name,
            str(row.threads),
            f"{row.cold_load_ms:.1f}",
            f"{row.cold_first_ms:.1f}",
            *(f"{value:.2f}" for value in row.warm_ms().values()),
            str(len(row.samples_s)),
            row.note or "",
        ]
        for row in result.rows
    ]


def minute_rows(result: BenchResult) -> list[list[str]]:
    """A row of `MINUTE_COLUMNS` a repeat that ran for two minutes or longer."""
    rows = []
    for row in result.rows:
        for timings in row.repeats:
            minutes = timings.minutes_p50
            if len(minutes) > 1:
                times = (minutes[0], minutes[-1], max(minutes))
                told = [f"{value:.2f}" for value in times]
                rows.append([row.file, str(row.threads), *told, str(len(minutes))])
    return rows


def profile_rows(result: BenchResult) -> list[list[str]]:
    """A row of `PROFILE_COLUMNS` a slow operation of each file that was profiled."""
    return [
        [row.file, str(row.threads), one.name, one.kind, f"{one.ms:.3f}", f"{one.share:.1%}"]
        for row in result.rows
        for one in (row.profile or ())[:SLOWEST]
    ]


def count_rows(result: BenchResult) -> list[list[str]]:
    """A row of `COUNT_COLUMNS` a file: what was executed on an emulated core."""
    return [
        [row.file, f"{row.instructions[0] / 1e6:.2f}", *_kinds(row), row.note or ""]
        for row in result.counted
    ]


def estimate_rows(result: BenchResult) -> list[list[str]]:
    """A row of `ESTIMATE_COLUMNS` a file that has an estimate."""
    rows = []
    for row in result.counted:
        if (price := row.estimate) is not None:
            interval = price.interval_ms
            span = "-" if interval is None else f"{interval[0]:.1f} to {interval[1]:.1f}"
            model = f"{price.tool}, {price.core.model}, {price.core.clock_ghz:g} GHz"
            times = [f"{price.bound_ms:.1f}", f"{price.compute_ms:.1f}", span]
            rows.append([row.file, *times, model])
    return rows


def _kinds(row: CountRow) -> list[str]:
    if row.kinds is None:
        return ["-"] * len(KINDS)
    total = sum(row.kinds.values())
    return [f"{row.kinds[kind] / total:.0%}" for kind in KINDS]
