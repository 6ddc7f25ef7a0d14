import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevit_runtimes.errors import DeviceFailed, RunFailed
from edgevit_runtimes.runners import local


def test_a_cold_start_is_measured_in_a_fresh_process(tiny: Any) -> None:
    cold = local.cold_start(tiny.files["onnxruntime"], tiny.inputs, threads=1)
    assert cold.import_s > 0
    assert cold.load_s > 0
    assert cold.first_s > 0


def test_a_directory_of_the_user_is_not_imported(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert local.cold_start(tiny.files["onnxruntime"], tiny.inputs, threads=1).first_s > 0


def test_a_failure_in_the_process_comes_back_as_it_was(tiny: Any, broken: Any) -> None:
    path = broken("litert", lambda good: good[:100])
    with pytest.raises(RunFailed, match=r"litert cannot open broken\.tflite") as caught:
        local.cold_start(path, tiny.inputs, threads=1)
    assert caught.value.next is not None
    wrong = (np.zeros((1, 3, 8, 6), np.float64),)
    with pytest.raises(RunFailed, match="float64"):
        local.cold_start(tiny.files["litert"], wrong, threads=1)


def test_a_runtime_that_ends_its_process_is_one_sentence(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = tmp_path / "edgevit_killer.py"
    killer.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(local, "WORKER", "edgevit_killer")
    with pytest.raises(RunFailed, match=r"ended its process \(SIGSEGV\) on tiny\.onnx"):
        local.cold_start(tiny.files["onnxruntime"], tiny.inputs, threads=1)


@pytest.mark.parametrize("printed", [b"", b"hello", b"[1]", b"{}", b'{"failed": "OSError"}'])
def test_a_process_without_an_answer_is_one_sentence(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, printed: bytes
) -> None:
    done = subprocess.CompletedProcess([], 0, stdout=printed)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RunFailed, match="gave no answer"):
        local.cold_start(tiny.files["onnxruntime"], tiny.inputs, threads=1)


def test_a_process_that_hangs_is_stopped(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgevit_sleeper.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(local, "WORKER", "edgevit_sleeper")
    with pytest.raises(DeviceFailed, match=r"within 0\.3 s"):
        local.cold_start(tiny.files["onnxruntime"], tiny.inputs, 1, timeout_secs=0.3)


def test_a_machine_that_starts_no_process_is_one_sentence(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/absent/python")
    with pytest.raises(DeviceFailed, match="No process could be started"):
        local.cold_start(tiny.files["onnxruntime"], tiny.inputs, threads=1)


def test_warm_runs_are_counted(tiny: Any) -> None:
    samples = local.warm(tiny.files["litert"], tiny.inputs, 1, 2, 7, 0.0, 30.0)
    assert len(samples) == 7
    assert all(sample > 0 for sample in samples)
