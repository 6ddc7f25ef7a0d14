"""`edgevit bench`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.choice import choose
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import AnyRuntime, BundlePath, Engine, Formats, Json, Quiet, numbers

EXAMPLES = """\b
Examples:
  edgevit bench out
  edgevit bench out --format onnx,litert --threads 1,4 -o result.json
  edgevit bench out --mode sustained --device adb -o result.json
  edgevit bench out --device emulated:cortex-a77
  edgevit bench out --device ssh:pi@board -o result.json"""


def bench(
    bundle: BundlePath,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="The device to measure on: local, adb[:SERIAL], ssh:USER@HOST, or emulated:CORE,"
            " which counts instructions (emulated:cortex-a77).",
        ),
    ] = "local",
    formats: Formats = None,
    runtime: AnyRuntime = None,
    engine: Engine = None,
    threads: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NUMBERS", help="Thread counts to measure, comma-separated. Default: 1."
        ),
    ] = None,
    mode: Annotated[
        str,
        typer.Option(
            metavar="MODE",
            help="How long to measure: standard (3 x 50 runs), quick (a first look), mlperf (1024"
            " runs and 60 s; read p90), sustained (10 minutes; p50 of each). The options below"
            " replace what the mode sets.",
        ),
    ] = "standard",
    warmup: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Warm-up runs that are not timed.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Minimum number of timed runs.")
    ] = None,
    min_secs: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Minimum measuring time.")
    ] = None,
    max_secs: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Maximum measuring time per repeat."),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Number of cold starts, each followed by timed runs; of counts on an emulated"
            " core (default there: 2).",
        ),
    ] = None,
    no_kleidiai: Annotated[
        bool,
        typer.Option(
            "--no-kleidiai", help="Switch Arm's KleidiAI kernels off (ONNX Runtime alone can)."
        ),
    ] = False,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Also run each .onnx file with ONNX Runtime's profile of its operations.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write JSON with the raw samples to this file."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with what FILE.jsonl has of a measurement broken off."
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time the files of a bundle: cold start, then p10, p50, p90 and p99 of warm runs.

    For the cold start, each file is loaded in a separate process. For the warm runs, the files
    take turns in this process. The input is the bundle's golden picture.

    Unlike the other commands, bench does not set OMP_WAIT_POLICY=PASSIVE, so the threads of the
    runtimes wait as in any other program. Measure on a machine that does nothing else.

    On a phone (adb) or a board (ssh), the native runner is sent along with the runtimes' ARM
    libraries (`edgevit device setup emulated` brings them), run from a temporary folder, and
    removed. Each repeat is kept in FILE.jsonl until FILE is whole.

    On an emulated core (`edgevit device setup emulated`), nothing is timed: the instructions of one
    warm run are counted, and what they would take on that core is estimated. Every file is first
    compared with the golden outputs, on the device.
    """
    from edgevit.bundle.sealing import check_output_file
    from edgevit.cli.views.bench import (
        COLUMNS,
        COUNT_COLUMNS,
        ESTIMATE_COLUMNS,
        MINUTE_COLUMNS,
        PROFILE_COLUMNS,
        bench_rows,
        count_rows,
        estimate_rows,
        minute_rows,
        profile_rows,
    )
    from edgevit.measure.bench import bench_bundle

    if output is not None:
        check_output_file(output)
    with Terminal(quiet) as terminal:
        terminal.working("check the bundle, load the runtimes")
        choice = choose(formats, runtime, engine)
        result = bench_bundle(
            bundle,
            formats=choice.formats,
            device=device,
            threads=numbers(threads or ["1"], "--threads"),
            mode=mode,
            kleidiai=not no_kleidiai,
            profile=profile,
            warmup=warmup,
            runs=runs,
            min_secs=min_secs,
            max_secs=max_secs,
            repeat=repeat,
            progress=terminal.counting,
            engine=choice.engine,
            output=output,
            resume=resume,
        )
        terminal.stop()
        if output is not None:
            terminal.done(f"wrote {output}")
        if as_json:
            print_json(result.to_json())
        elif result.counted:
            where = f"on arm64 (emulated {result.device.address})"
            print_table(COUNT_COLUMNS, count_rows(result), f"Counted {where}, one warm run")
            if estimated := estimate_rows(result):
                print_table(ESTIMATE_COLUMNS, estimated, "Estimated from the counts, not measured")
        else:
            on = "" if result.device.kind == "local" else f" on {result.device}"
            print_table(COLUMNS, bench_rows(result), f"Milliseconds{on}")
            if minutes := minute_rows(result):
                print_table(MINUTE_COLUMNS, minutes, "Milliseconds, p50 of each minute")
            if operations := profile_rows(result):
                print_table(PROFILE_COLUMNS, operations, "The slowest operations, profiled")
        if result.settings.mode == "quick" and not result.counted:
            terminal.note(result.notes[0])
        terminal.note(
            "A latency is for the file alone, without preprocessing and without the mask stage."
        )
        quoted = shlex.quote(str(bundle))
        if output is None and not as_json:
            terminal.next(f"edgevit bench {quoted} -o result.json")
        else:
            terminal.next(f"edgevit run {quoted} PHOTO.jpg -o results")
