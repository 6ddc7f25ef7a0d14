"""The worker that a cold start is measured in: one fresh process, one file, one run.

`python -m edgevit_runtimes.runners.cold FILE --threads N`, the inputs as .npz on standard input;
the answer is one line of JSON on standard output: `import_s`, `load_s` and `first_s`, or `failed`.
"""

import argparse
import io
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import numpy as np

from edgevit_runtimes.engines import engine_of, open_prepared, prepare
from edgevit_runtimes.errors import RunFailed, RuntimesError, reason
from edgevit_runtimes.session import Array
from edgevit_runtimes.timing import ColdStart


def start_cold(
    path: Path, threads: int, arrays: Sequence[Array], settings: Mapping[str, str] | None = None
) -> ColdStart:
    """Import, load and run once, timed apart; only in a fresh process is that a cold start."""
    engine = engine_of(path)
    begin = perf_counter()
    prepare(engine)
    imported = perf_counter()
    session = open_prepared(path, engine, threads, settings)
    loaded = perf_counter()
    session.run(*arrays)
    ran = perf_counter()
    session.close()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return ColdStart(
        import_s=imported - begin,
        load_s=loaded - imported,
        first_s=ran - loaded,
        peak_rss_kib=most // 1024 if sys.platform == "darwin" else most,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one cold start and print it; always 0 once there is an answer."""
    parser = argparse.ArgumentParser(prog="edgevit_runtimes.runners.cold")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--setting", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    # The answer has standard output for itself: whatever a library prints goes to standard error.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with answer:
        try:
            with np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False) as stored:
                arrays = [stored[f"input_{i}"] for i in range(len(stored.files))]
            settings = dict(setting.split("=", 1) for setting in options.setting)
            found = start_cold(options.file, options.threads, arrays, settings)
            print(json.dumps(asdict(found)), file=answer)
        except RuntimesError as error:
            print(json.dumps(_failure(error)), file=answer)
        except Exception as error:
            failed = RunFailed(f"{options.file.name} failed in a fresh process: {reason(error)}.")
            print(json.dumps(_failure(failed)), file=answer)
    return 0


def _failure(error: RuntimesError) -> dict[str, object]:
    return {"failed": type(error).__name__, "message": error.message, "next": error.next}


if __name__ == "__main__":
    sys.exit(main())
