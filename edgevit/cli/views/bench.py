"""A measurement as rows."""

from pathlib import Path

from edgevit_runtimes.result import BenchResult

COLUMNS = (
    *("file", "threads", "load", "first", "p10", "p50", "p90", "p99", "mean"),
    *("samples", "remark"),
)


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
