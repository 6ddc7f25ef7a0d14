"""`edgevit bench`."""

from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import BundlePath, Json, Quiet, Runtimes, numbers, words


def bench(
    bundle: BundlePath,
    device: Annotated[str, typer.Option(help="Where to measure; this version: local.")] = "local",
    runtime: Runtimes = None,
    threads: Annotated[str, typer.Option(help="Thread counts, comma-separated.")] = "1",
    warmup: Annotated[int, typer.Option(help="Runs before the clock counts.")] = 5,
    runs: Annotated[int, typer.Option(help="Timed runs at least.")] = 50,
    min_secs: Annotated[float, typer.Option(help="Measure at least this long.")] = 1.0,
    max_secs: Annotated[float, typer.Option(help="And at most this long a file.")] = 30.0,
    repeat: Annotated[int, typer.Option(help="Cold starts, each with its own timed runs.")] = 3,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON with raw samples here.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the files of a bundle: cold start, then p10, p50, p90 and p99 of warm runs."""
    from edgevit.measure import bench_bundle, bench_rows, write_result

    terminal = Terminal(quiet)
    result = bench_bundle(
        bundle,
        formats=words(runtime),
        device=device,
        threads=numbers(threads, "--threads"),
        warmup=warmup,
        runs=runs,
        min_secs=min_secs,
        max_secs=max_secs,
        repeat=repeat,
        progress=lambda what, done, total: terminal.working(f"{what}: {done} of {total} runs"),
    )
    terminal.status.stop()
    if output is not None:
        write_result(result, output)
    if as_json:
        print_json(result.to_json())
        return
    columns = ("file", "threads", "load", "first", "p10", "p50", "p90", "p99", "samples", "remark")
    print_table(columns, bench_rows(result), "Milliseconds on this machine")
    terminal.note("A latency covers the file's own outputs only: no preprocessing, no mask stage.")
    terminal.next(f"edgevit bench {bundle} --json > result.json")
