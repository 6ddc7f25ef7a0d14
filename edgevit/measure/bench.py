"""bench: a bundle's files, their hashes checked, timed by the runtimes workshop on the golden
input.
"""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import open_bundle
from edgevit.bundle.ports import to_file
from edgevit.bundle.sealing import whole_file
from edgevit.bundle.verify import verify_file
from edgevit.errors import UsageError
from edgevit_runtimes.bench import bench, journal_of
from edgevit_runtimes.device import Device, parse_device
from edgevit_runtimes.devices import versions_on
from edgevit_runtimes.engines import engine_of, prepare
from edgevit_runtimes.errors import DeviceFailed, UnknownEngine
from edgevit_runtimes.modes import Mode, mode_named
from edgevit_runtimes.result import BenchResult, BenchSettings

COUNTS = 2  # of one warm run on an emulated core


def bench_bundle(
    path: Path,
    formats: Sequence[str] = (),
    device: str = "local",
    threads: Sequence[int] = (1,),
    mode: str = "standard",
    kleidiai: bool = True,
    profile: bool = False,
    warmup: int | None = None,
    runs: int | None = None,
    min_secs: float | None = None,
    max_secs: float | None = None,
    repeat: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    engine: str | None = None,
    output: Path | None = None,
    resume: bool = False,
) -> BenchResult:
    """Time each file of a bundle, or those of `formats`, on its golden input.

    `mode` is one of `edgevit_runtimes.modes.MODES`; what is given outright replaces its settings.
    Each file is run on the device and compared with the golden outputs before it is timed. With
    `output` the result is written there, and until it is whole each repeat to `output`.jsonl, from
    which `resume` goes on.

    `engine` names the runtime to time them in, and narrows them to those that it opens. Files that
    this machine cannot run (Core ML off macOS) are left out unless they are asked for,
    or are all that there is. Raises what `Bundle.checked` and `edgevit_runtimes.bench.bench` raise.
    """
    place = parse_device(device)
    asked = mode_named(mode)
    settings = BenchSettings(
        tuple(threads),
        asked.warmup if warmup is None else warmup,
        asked.runs if runs is None else runs,
        asked.min_secs if min_secs is None else min_secs,
        asked.max_secs if max_secs is None else max_secs,
        _repeats(place, asked) if repeat is None else repeat,
        mode,
        kleidiai,
        profile,
    )
    bundle = open_bundle(path)
    files = bundle.entries(formats, engine)
    if not formats and engine is None:
        files = _runnable(files, place)
    for file in files:  # a file that computes something else has no latency
        verify_file(bundle, file, engine=engine, device=place)
    picture = bundle.golden("input")
    hashes = [file.sha256 for file in files]
    inputs = [[to_file(picture, file.inputs[0])] for file in files]
    journal = None
    if output is not None and place.kind != "emulated":
        journal = journal_of(output, place, settings, hashes, inputs, engine)
    if resume and journal is None:
        raise UsageError(
            "--resume goes on with a measurement that was to be written to a file.",
            next="edgevit bench BUNDLE --device DEVICE --resume -o result.json",
        )
    result = bench(
        [bundle.checked(file) for file in files],
        inputs,
        hashes,
        threads=settings.threads,
        warmup=settings.warmup,
        runs=settings.runs,
        min_secs=settings.min_secs,
        max_secs=settings.max_secs,
        repeat=settings.repeat,
        mode=mode,
        kleidiai=kleidiai,
        profile=profile,
        checked=True,
        accuracies=[asdict(file.accuracy[0]) if file.accuracy else None for file in files],
        device=place,
        progress=progress,
        engine=engine,
        journal=journal,
        resume=resume,
    )
    if output is not None:
        write_result(result, output)
    if journal is not None:
        journal.end()
    return result


def _repeats(device: Device, mode: Mode) -> int:
    """Counts are exact, and made twice to show it, in any mode."""
    return COUNTS if device.kind == "emulated" else mode.repeat


def _runnable(files: Sequence[FileEntry], device: Device) -> list[FileEntry]:
    """The files whose runtime the device has; all of them where it has none, to fail and say why.

    What was verified at export does not tell: it may have been elsewhere, or left out.
    """
    kept = []
    for file in files:
        engine = engine_of(Path(file.path))
        with contextlib.suppress(DeviceFailed, UnknownEngine):
            if device.kind == "local":
                prepare(engine)
            else:
                versions_on(device, engine)
            kept.append(file)
    return kept or list(files)


def write_result(result: BenchResult, path: Path) -> None:
    """Write the JSON with its raw samples."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
