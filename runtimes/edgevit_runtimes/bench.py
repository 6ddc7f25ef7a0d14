"""Times exported files on a device: cold and warm, for each thread count, repeated."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from edgevit_runtimes.counting import count_files
from edgevit_runtimes.device import (
    Device,
    check_threads,
    machine_facts,
    parse_device,
    require_runner,
    usable_cores,
)
from edgevit_runtimes.engines import chosen, prepare, versions
from edgevit_runtimes.errors import BadSetting
from edgevit_runtimes.result import BenchResult, BenchRow, BenchSettings
from edgevit_runtimes.runners import local
from edgevit_runtimes.session import Array
from edgevit_runtimes.timing import Progress, Timings

BenchProgress = Callable[[str, int, int], None]


def bench(
    files: Sequence[Path],
    inputs: Sequence[Sequence[Array]],
    hashes: Sequence[str],
    *,
    threads: Sequence[int] = (1,),
    warmup: int = 3,
    runs: int = 50,
    min_secs: float = 1.0,
    max_secs: float = 30.0,
    repeat: int = 1,
    device: str | Device = "local",
    progress: BenchProgress | None = None,
    engine: str | None = None,
) -> BenchResult:
    """Measure each file at each thread count, `repeat` times, with its own inputs.

    `inputs[i]` (numpy arrays) and `hashes[i]` (sha256, which the caller has checked) belong to
    `files[i]`. A repeat of a file is a cold start in a fresh process, then a fresh load, warm-up
    and timed runs in this one; the files take turns within a repeat, each repeat starting with
    the next file. `engine` opens all of them, where it is named. `progress(what, done, total)`
    counts timed runs. On an emulated core nothing is timed: one warm run is counted `repeat`
    times (`counting.count_files`), and the other settings are not used.

    Raises `BadSetting`, `UnknownDevice`, `UnknownEngine`, `MissingRuntime`, `DeviceFailed` or
    `RunFailed`; the first four before anything is run.
    """
    settings = BenchSettings(tuple(threads), warmup, runs, min_secs, max_secs, repeat)
    where = parse_device(device) if isinstance(device, str) else device
    require_runner(where)
    if where.kind == "emulated":
        if settings.threads != (1,):
            raise BadSetting("An emulated core counts on one thread.", next="--threads 1")
        counted = count_files(
            files, inputs, hashes, where, repeat=repeat, engine=engine, progress=progress
        )
        return BenchResult(where, machine_facts(), settings, (), counted)
    check_settings(settings, usable_cores())
    if not files or not len(files) == len(inputs) == len(hashes):
        raise BadSetting("Measuring needs at least one file, and inputs and a hash for each.")
    engines = [chosen(path, engine) for path in files]
    for entry in engines:
        prepare(entry)
    machine = machine_facts()  # before the load that measuring makes itself

    total = len(settings.threads) * repeat * len(files) * runs
    done = 0
    rows = []
    for count in settings.threads:
        imports: list[list[float]] = [[] for _ in files]
        timings: list[list[Timings]] = [[] for _ in files]
        for turn in range(repeat):
            for place in range(len(files)):
                i = (place + turn) % len(files)
                label = f"{files[i].name}, threads {count}, repeat {turn + 1} of {repeat}"
                within = _within(progress, label, done, total)
                within(0, runs)
                cold = local.cold_start(files[i], inputs[i], count, engine=engine)
                samples = local.warm(
                    files[i],
                    inputs[i],
                    count,
                    warmup,
                    runs,
                    min_secs,
                    max_secs,
                    within,
                    engine,
                )
                done += runs
                imports[i].append(cold.import_s)
                timings[i].append(Timings(cold.load_s, cold.first_s, samples))
        rows += [
            BenchRow(
                file=path.name,
                sha256=digest,
                engine=entry.name,
                versions=versions(entry),
                threads=count,
                cold_imports_s=tuple(imports[i]),
                repeats=tuple(timings[i]),
            )
            for i, (path, digest, entry) in enumerate(zip(files, hashes, engines, strict=True))
        ]
    return BenchResult(where, machine, settings, tuple(rows))


def check_settings(settings: BenchSettings, cores: int) -> None:
    """Raise `BadSetting` for what cannot be measured, or not on a machine of `cores` cores."""
    threads = settings.threads
    if not threads or len(set(threads)) != len(threads):
        raise BadSetting("Thread counts are given once each, and at least one.", next="--threads 1")
    for count in threads:
        check_threads(count, cores)
    if settings.runs < 1 or settings.repeat < 1 or settings.warmup < 0:
        raise BadSetting("Runs and repeats are at least 1, and warm-up runs at least 0.")
    least, most = settings.min_secs, settings.max_secs
    if not (math.isfinite(least) and math.isfinite(most) and 0 <= least <= most and most > 0):
        raise BadSetting(
            f"The minimum time ({least:g} s) must be from 0 to the maximum ({most:g} s)."
        )


def _within(progress: BenchProgress | None, label: str, done: int, total: int) -> Progress:
    """The progress of one repeat as progress of the whole."""

    def tell(part: int, _: int) -> None:
        if progress is not None:
            progress(label, done + part, total)

    return tell
