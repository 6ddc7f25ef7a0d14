"""Measures a file on this machine: cold in a process of its own, warm in this one."""

import io
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from edgevit_runtimes import errors
from edgevit_runtimes.engines import chosen, open_session
from edgevit_runtimes.errors import DeviceFailed, RunFailed, RuntimesError
from edgevit_runtimes.session import Array
from edgevit_runtimes.sessions import tflite
from edgevit_runtimes.timing import ColdStart, Progress, measure
from edgevit_runtimes.worker import ending

WORKER = "edgevit_runtimes.runners.cold"
WORKER_SECS = 600.0


def cold_start(
    path: Path,
    inputs: Sequence[Array],
    threads: int,
    timeout_secs: float = WORKER_SECS,
    engine: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> ColdStart:
    """Import the runtime, load the file and run it once in a fresh Python process.

    A runtime that ends its process on a broken file ends that one only. Raises what the session
    raised, `RunFailed` where the process died, `DeviceFailed` where it took longer than
    `timeout_secs`. The classic tflite-runtime is in a process of its own as it is, and keeps its
    own limits.
    """
    if chosen(path, engine).name == tflite.ENGINE:
        return tflite.cold_start(path, inputs, threads)
    # -P: a directory named like a package in the user's working directory must not be imported.
    command = [sys.executable, "-P", "-m", WORKER, str(path.absolute()), "--threads", str(threads)]
    for name, value in (settings or {}).items():
        command += ["--setting", f"{name}={value}"]
    try:
        done = subprocess.run(
            command,
            input=_packed(inputs),
            capture_output=True,
            env=_environment(),
            timeout=timeout_secs,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DeviceFailed(
            f"{path.name} did not finish its first run within {timeout_secs:g} s."
        ) from None
    except OSError as error:
        raise DeviceFailed(f"No process could be started: {error.strerror or error}.") from error
    if done.returncode != 0:
        raise RunFailed(
            f"The runtime ended its process ({ending(done.returncode)}) on {path.name}.",
            next="edgevit export MODEL -o DIR",
        )
    return _answer(done.stdout, path.name)


def warm(
    path: Path,
    inputs: Sequence[Array],
    threads: int,
    warmup: int,
    runs: int,
    min_secs: float,
    max_secs: float,
    progress: Progress | None = None,
    engine: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> tuple[float, ...]:
    """Seconds of each timed run of a freshly loaded file in this process; see `timing.measure`."""
    with open_session(path, engine, threads, settings) as session:
        return measure(session.stopwatch(*inputs), warmup, runs, min_secs, max_secs, progress)


def _packed(inputs: Sequence[Array]) -> bytes:
    packed = io.BytesIO()
    named = {f"input_{i}": array for i, array in enumerate(inputs)}
    np.savez(packed, **named)  # type: ignore[arg-type]  # numpy's stub takes the names for its own flags
    return packed.getvalue()


def _environment() -> Mapping[str, str]:
    """This process's environment, with the package's own root where Python would not look."""
    root = Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    if root in installed:
        return os.environ
    paths = [part for part in (os.environ.get("PYTHONPATH"), str(root)) if part]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _answer(printed: bytes, file: str) -> ColdStart:
    try:
        answer = json.loads(printed)
        if "failed" not in answer:
            return ColdStart(
                import_s=float(answer["import_s"]),
                load_s=float(answer["load_s"]),
                first_s=float(answer["first_s"]),
                peak_rss_kib=int(answer["peak_rss_kib"]),
            )
        kind = getattr(errors, answer["failed"])
        failure: RuntimesError = kind(answer["message"], next=answer["next"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunFailed(f"The process that ran {file} gave no answer.") from None
    raise failure
