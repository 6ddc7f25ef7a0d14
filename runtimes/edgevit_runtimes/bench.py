"""Times exported files on a device: cold and warm, for each thread count, repeated."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from edgevit_runtimes.counting import Accuracy, count_files
from edgevit_runtimes.device import (
    Device,
    check_threads,
    machine_facts,
    parse_device,
    usable_cores,
)
from edgevit_runtimes.devices import shell_of, versions_on
from edgevit_runtimes.engines import chosen, prepare
from edgevit_runtimes.errors import BadSetting
from edgevit_runtimes.journal import Journal
from edgevit_runtimes.meters import Job, meter
from edgevit_runtimes.profiles import PROFILED, kleidiai_word, settings_of
from edgevit_runtimes.result import BenchResult, BenchRow, BenchSettings
from edgevit_runtimes.runners.state import read_state
from edgevit_runtimes.session import Array, sha256_of
from edgevit_runtimes.timing import Progress

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
    mode: str = "standard",
    kleidiai: bool = True,
    profile: bool = False,
    checked: bool | None = None,
    accuracies: Sequence[Accuracy | None] = (),
    device: str | Device = "local",
    progress: BenchProgress | None = None,
    engine: str | None = None,
    journal: Journal | None = None,
    resume: bool = False,
) -> BenchResult:
    """Measure each file at each thread count, `repeat` times, with its own inputs.

    `inputs[i]` (numpy arrays) and `hashes[i]` (sha256, which the caller has checked) belong to
    `files[i]`. A repeat of a file is a cold start in a fresh process, then a fresh load, warm-up
    and timed runs in this one; the files take turns within a repeat, each repeat starting with
    the next file. `engine` opens all of them, where it is named. `progress(what, done, total)`
    counts timed runs. On an emulated core nothing is timed: one warm run is counted `repeat`
    times (`counting.count_files`), and the other settings are not used. `mode` is a name for the
    record: of `MODES`, whose settings the caller has given. `checked` is for the record too: that
    the caller has compared the outputs on this device; so are `accuracies`, one a file, or none at
    all. `kleidiai=False` switches Arm's KleidiAI kernels off where the runtime can; `profile` asks
    for its operations where it has a profile, in a run of its own. `journal` keeps each repeat
    as soon as it is measured; with `resume`, those that it has are not measured again.

    Raises `BadSetting`, `UnknownDevice`, `UnknownEngine`, `MissingRuntime`, `DeviceFailed` or
    `RunFailed`; the first four before anything is run.
    """
    settings = BenchSettings(
        tuple(threads), warmup, runs, min_secs, max_secs, repeat, mode, kleidiai, profile
    )
    where = parse_device(device) if isinstance(device, str) else device
    if where.kind == "emulated":
        if settings.threads != (1,):
            raise BadSetting("An emulated core counts on one thread.", next="--threads 1")
        if profile:
            raise BadSetting(
                "An emulated core has no profile of operations: its hottest blocks are counted.",
                next=f"edgevit bench BUNDLE --device {where} -o result.json",
            )
        counted = count_files(
            files, inputs, hashes, where,
            repeat=repeat, engine=engine, progress=progress, checked=checked, kleidiai=kleidiai,
            accuracies=accuracies,
        )  # fmt: skip
        return BenchResult(where, machine_facts(), settings, (), counted)
    # Another device has its own number of cores; the runner takes 64 threads at most.
    check_settings(settings, usable_cores() if where.kind == "local" else 64)
    if not files or not len(files) == len(inputs) == len(hashes):
        raise BadSetting("Measuring needs at least one file, and inputs and a hash for each.")
    engines = [chosen(path, engine) for path in files]
    own = [settings_of(entry, kleidiai) for entry in engines]
    if profile and not any(entry.name in PROFILED for entry in engines):
        raise BadSetting(
            "Of the runtimes, only ONNX Runtime has a profile of operations.",
            next="edgevit bench BUNDLE --format onnx --profile",
        )
    for entry in engines:
        versions_on(where, entry) if where.kind != "local" else prepare(entry)
    # Before the load that measuring makes itself; of the machine that is measured.
    machine = machine_facts() if where.kind == "local" else read_state(shell_of(where))
    keys = [
        (place, count, turn)
        for count in settings.threads
        for turn in range(repeat)
        for place in _turns(len(files), turn)
    ]
    repeats = journal.known() if journal is not None and resume else {}
    if journal is not None and not resume:
        journal.begin()
    done = 0
    with meter(where, lambda: shell_of(where), engine) as measured:
        for key in keys:
            i, count, turn = key
            label = f"{files[i].name}, threads {count}, repeat {turn + 1} of {repeat}"
            within = _within(progress, label, done, len(keys) * runs)
            within(0, runs)
            if key not in repeats:
                job = Job(
                    files[i], engines[i], inputs[i], count, warmup, runs, min_secs, max_secs, own[i]
                )  # fmt: skip
                repeats[key] = measured.repeat(job, within)
                if journal is not None:
                    journal.add(key, repeats[key])
            done += runs
        profiles = {}
        for i, count in ((i, count) for i in range(len(files)) for count in settings.threads):
            if profile and engines[i].name in PROFILED:
                job = Job(files[i], engines[i], inputs[i], count, 0, 1, 0.0, max_secs, own[i])
                profiles[i, count] = measured.profile(job)
    rows = []
    for count in settings.threads:
        for i, path in enumerate(files):
            of_row = [repeats[i, count, turn] for turn in range(repeat)]
            peaks = [one.peak_rss_kib for one in of_row if one.peak_rss_kib is not None]
            rows.append(
                BenchRow(
                    file=path.name,
                    sha256=hashes[i],
                    engine=engines[i].name,
                    versions=versions_on(where, engines[i]),
                    threads=count,
                    cold_imports_s=tuple(one.import_s for one in of_row),
                    repeats=tuple(one.timings for one in of_row),
                    flags=tuple(dict.fromkeys(flag for one in of_row for flag in one.flags)),
                    states=tuple(one.states for one in of_row if one.states),
                    peak_rss_kib=max(peaks, default=None),
                    input_sha256=sha256_of(inputs[i]),
                    outputs_right=checked,
                    kleidiai=kleidiai_word(engines[i], kleidiai),
                    profile=profiles.get((i, count)),
                    accuracy=accuracies[i] if accuracies else None,
                )
            )
    return BenchResult(where, machine, settings, tuple(rows))


def journal_of(
    path: Path,
    device: Device,
    settings: BenchSettings,
    hashes: Sequence[str],
    inputs: Sequence[Sequence[Array]],
    engine: str | None,
) -> Journal:
    """The journal of a measurement that is written to `path`."""
    head = {
        "device": str(device),
        "settings": asdict(settings),
        "sha256": list(hashes),
        "input_sha256": [sha256_of(arrays) for arrays in inputs],
        "engine": engine,
    }
    return Journal(path.with_name(f"{path.name}.jsonl"), head)


def _turns(count: int, turn: int) -> Iterator[int]:
    """The files of a repeat, each repeat beginning with the next one."""
    return ((place + turn) % count for place in range(count))


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
