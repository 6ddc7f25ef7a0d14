"""bench: a bundle's files, their hashes checked, timed by the runtimes workshop on the golden
input.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from edgevit.bundle import open_bundle
from edgevit.ports import to_file
from edgevit_runtimes.bench import bench
from edgevit_runtimes.result import BenchResult


def bench_bundle(
    path: Path,
    formats: Sequence[str] = (),
    device: str = "local",
    threads: Sequence[int] = (1,),
    warmup: int = 5,
    runs: int = 50,
    min_secs: float = 1.0,
    max_secs: float = 30.0,
    repeat: int = 3,
    progress: Callable[[str, int, int], None] | None = None,
) -> BenchResult:
    """Time each file of a bundle, or those of `formats`, on its golden input.

    Files that this machine cannot run (Core ML off macOS) are left out unless they are asked for.
    Raises what `Bundle.checked` and `edgevit_runtimes.bench.bench` raise.
    """
    bundle = open_bundle(path)
    files = [bundle.entry(name) for name in formats] or [
        file for file in bundle.manifest.files if file.verification.status == "executed"
    ]
    picture = bundle.golden("input")
    return bench(
        [bundle.checked(file) for file in files],
        [[to_file(picture, file.inputs[0])] for file in files],
        [file.sha256 for file in files],
        threads=threads,
        warmup=warmup,
        runs=runs,
        min_secs=min_secs,
        max_secs=max_secs,
        repeat=repeat,
        device=device,
        progress=progress,
    )


def bench_rows(result: BenchResult) -> list[list[str]]:
    """A row a file and thread count, times in milliseconds."""
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


def write_result(result: BenchResult, path: Path) -> None:
    """Write the JSON beside its final name first, so that no reader meets half a file."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
