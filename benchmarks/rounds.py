"""What the latency scripts share: rounds in blocks, speeds with their verdict, and what code and
which tools a result was made with.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.straight import STRAIGHT
from edgevit_export.formats import FORMATS
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.timing import interleave, percentile_ms, ratio_interval

ROOT = Path(__file__).resolve().parents[1]
MEASURED = tuple(STRAIGHT)
KEPT = 0.97  # of the straight export's speed, at least, in every runtime
PRODUCTS = ((197, 768, 768), (197, 768, 3072), (1024, 1024, 1024))  # two of ViT-B's
PRODUCT_TRIES = 50
BLOCKS = 5  # files are opened anew this often, so that one lucky memory layout decides nothing
SOURCE_SUFFIXES = (".py", ".json", ".safetensors")

Samples = dict[str, list[float]]  # seconds; sample i of every candidate is of round i


def blocks(rounds: int) -> list[int]:
    """Rounds of each block, none empty."""
    count = min(BLOCKS, rounds)
    return [rounds // count + (i < rounds % count) for i in range(count)]


def extend(
    samples: Samples, runs: Mapping[str, Callable[[], object]], rounds: int, warmup: int
) -> None:
    """Time a block of rounds in turns, and append its samples."""
    for who, measured in interleave(runs, rounds, warmup=warmup).items():
        samples[who] += measured


def time_files(files: Mapping[str, tuple[Path, Any]], rounds: int, warmup: int) -> Samples:
    """Time files on one thread in turns, each on its own input, opened anew for every block."""
    samples: Samples = {who: [] for who in files}
    for block in blocks(rounds):
        with ExitStack() as stack:
            runs = {}
            for who, (path, array) in files.items():
                session = stack.enter_context(open_session(path, threads=1))
                runs[who] = lambda session=session, array=array: session.run(array)
            extend(samples, runs, block, warmup)
    return samples


def others_busy(seconds: float = 0.5) -> float | None:
    """Cores that other work keeps busy while this process rests; None where no kernel tells it.

    The load average would count what this process did a minute ago.
    """
    try:
        before = _busy_ticks()
        time.sleep(seconds)
        return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds
    except (OSError, ValueError):
        return None


def _busy_ticks() -> int:
    """Clock ticks of all cores that were not idle; proc(5), the first line of /proc/stat."""
    user, nice, system, _idle, _wait, *interrupts = map(
        int, Path("/proc/stat").read_text("ascii").partition("\n")[0].split()[1:8]
    )
    return user + nice + system + sum(interrupts)


def product_speed() -> float:
    """GMAC/s of the fastest product that torch computes here on one thread: a measure of what is
    left to win, and no bound, for a runtime's kernels may be faster.
    """
    threads, best = torch.get_num_threads(), 0.0
    torch.set_num_threads(1)
    for rows, inner, columns in PRODUCTS:
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        for _ in range(PRODUCT_TRIES):
            start = time.perf_counter()
            a @ b
            best = max(best, rows * inner * columns / (time.perf_counter() - start) / 1e9)
    torch.set_num_threads(threads)
    return best


def speed_cells(samples: Mapping[str, list[float]], at_least: float) -> list[str]:
    """Both medians in ms, the speed with its interval, and whether all of it keeps the bound."""
    middle, low, high = ratio_interval(samples["straight"], samples["edgevit"])
    return [
        f"{percentile_ms(samples['straight'], 50):.2f}",
        f"{percentile_ms(samples['edgevit'], 50):.2f}",
        f"{middle:.3f} ({low:.3f} to {high:.3f})",
        "yes" if low >= at_least else "no" if high < at_least else "undecided",
    ]


def source_state(sources: Iterable[str], *facts: object) -> str:
    """A hash over files and folders of the repository, the tools' versions, and further facts."""
    digest = hashlib.sha256()
    for source in sources:
        place = ROOT / source
        for path in sorted([place] if place.is_file() else place.rglob("*.*")):
            if path.suffix in SOURCE_SUFFIXES:
                digest.update(path.read_bytes())
    digest.update(repr((tool_versions(), *facts)).encode())
    return digest.hexdigest()


def tool_versions() -> dict[str, str]:
    """Packages that wrote or run the files."""
    packages = {p for name in MEASURED for p in FORMATS[name].packages}
    return {name: version(name) for name in sorted({*packages, "onnxruntime", "numpy"})}


def git(*words: str) -> str | None:
    """What git prints; None where it fails or is absent."""
    command = ["git", "-C", str(ROOT), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def commit() -> str | None:
    """The checked-out commit, twelve digits."""
    return git("rev-parse", "--short=12", "HEAD")


def changed() -> bool:
    """Whether tracked files differ from that commit."""
    return bool(git("status", "--porcelain", "--untracked-files=no"))


def in_a_process(module: str, what: str, *words: str) -> dict[str, Any]:
    """The JSON that a script prints last, run in a process of its own: exporters keep gigabytes.

    Raises `SystemExit` that says what it was where the process fails.
    """
    paths = [str(ROOT), *(str(ROOT / source) for source in ("export", "runtimes"))]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT,
    )
    if done.returncode:
        raise SystemExit(f"{what}: the process ended with {done.returncode}.")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
