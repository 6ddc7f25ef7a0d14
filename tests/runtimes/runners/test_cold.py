import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgevit_runtimes import errors


def worker(path: Path, given: bytes) -> dict[str, Any]:
    root = Path(errors.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "edgevit_runtimes.runners.cold", str(path)],
        input=given,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0
    assert done.stderr == b""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def packed(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def test_the_answer_is_one_line_of_json(tiny: Any) -> None:
    answer = worker(tiny.files["litert"], packed(input_0=tiny.inputs[0]))
    assert set(answer) == {"import_s", "load_s", "first_s", "peak_rss_kib"}
    assert min(answer.values()) > 0


def test_failures_travel_by_name(tmp_path: Path) -> None:
    answer = worker(tmp_path / "absent.onnx", packed(input_0=np.zeros(1)))
    assert answer["failed"] == "RunFailed"
    assert "There is no file" in answer["message"]
    answer = worker(tmp_path / "model.bin", packed(input_0=np.zeros(1)))
    assert answer["failed"] == "UnknownEngine"


def test_pickled_inputs_are_refused(tiny: Any) -> None:
    answer = worker(tiny.files["litert"], packed(input_0=np.array([{}], dtype=object)))
    assert answer["failed"] == "RunFailed"
    assert "allow_pickle" in answer["message"]
