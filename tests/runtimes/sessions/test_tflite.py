"""The classic tflite-runtime: the real one where it is set up, and pretenders that misbehave."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevit_runtimes.engines import open_session, versions
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, RunFailed
from edgevit_runtimes.runners import local
from edgevit_runtimes.session import Session
from edgevit_runtimes.sessions import tflite
from edgevit_runtimes.timing import measure

X = np.random.default_rng(0).standard_normal((1, 3, 8, 6), dtype=np.float32)
Pretend = Callable[..., Path]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(64))
    return path


def opened(path: Path, threads: int = 1) -> Session:
    return open_session(path, "tflite", threads)


# --- the real one --------------------------------------------------------------------------------


@pytest.mark.usefixtures("classic_runtime")
@pytest.mark.parametrize("threads", [1, 2])
def test_it_computes_what_torch_does(tiny: Any, threads: int) -> None:
    with opened(tiny.files["litert"], threads) as session:
        assert session.engine == "tflite"
        outputs = session.run(*tiny.inputs)
        again = session.run(np.zeros_like(tiny.inputs[0]))
    for output, expected, other in zip(outputs, tiny.expected, again, strict=True):
        assert output.dtype == expected.dtype
        np.testing.assert_allclose(output, expected, atol=1e-5)
        assert not np.array_equal(output, other)


@pytest.mark.usefixtures("classic_runtime")
def test_its_ports_are_those_of_litert(tiny: Any, dozen: Any) -> None:
    for written in (tiny, dozen):
        path = written.files["litert"]
        with opened(path) as session, open_session(path) as newer:
            assert (session.inputs, session.outputs) == (newer.inputs, newer.outputs)
            for output, expected in zip(
                session.run(*written.inputs), written.expected, strict=True
            ):
                np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.usefixtures("classic_runtime")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda good: good[: len(good) // 2], id="half"),
        pytest.param(lambda good: good[:8] + bytes(len(good) - 8), id="zeros"),
        pytest.param(lambda good: good[:8] + b"\xff" * (len(good) - 8), id="ones"),
    ],
)
def test_a_broken_file_is_one_sentence(broken: Any, change: Callable[[bytes], bytes]) -> None:
    # This runtime checks no offset: a broken file ends its process, which is not ours.
    path = broken("litert", change)
    with pytest.raises((RunFailed, DeviceFailed), match=r"broken\.tflite") as caught:
        opened(path)
    assert "\n" not in caught.value.message
    assert str(path.parent) not in caught.value.message
    assert caught.value.next is not None


@pytest.mark.usefixtures("classic_runtime")
def test_it_is_timed_by_its_own_clock(tiny: Any) -> None:
    path = tiny.files["litert"]
    cold = local.cold_start(path, tiny.inputs, 1, engine="tflite")
    assert min(cold.import_s, cold.load_s, cold.first_s) > 0
    samples = local.warm(path, tiny.inputs, 1, 1, 5, 0.0, 30.0, engine="tflite")
    assert len(samples) == 5
    assert min(samples) > 0


# --- pretenders ----------------------------------------------------------------------------------


def test_the_session_is_the_same_as_any_other(
    pretended: Pretend, file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pretended(invoke="print('to stdout'); os.write(1, b'to descriptor 1')")
    with opened(file) as session:
        assert [(p.name, p.shape, p.dtype) for p in session.inputs] == [
            ("x", (1, 3, 8, 6), "float32")
        ]
        (output,) = session.run(X)
        np.testing.assert_array_equal(output, X * 2)
        for wrong in (X.astype(np.float64), X[0], X.tolist()):
            with pytest.raises(RunFailed, match="Input 'x' of model"):
                session.run(wrong)
        np.testing.assert_array_equal(session.run(X[..., ::-1])[0], X[..., ::-1] * 2)
    with pytest.raises(RunFailed, match="was closed"):
        session.run(X)
    session.close()
    assert capfd.readouterr() == ("", "")


def test_threads_reach_the_interpreter(pretended: Pretend, file: Path) -> None:
    pretended(result="x * 0 + self.num_threads")
    with opened(file, 2) as session:
        assert session.run(X)[0].max() == 2


@pytest.mark.parametrize(("batch", "runs"), [(1, 5), (2, 6), (8, 8)])
def test_a_stopwatch_sends_its_inputs_once_and_asks_in_batches(
    batch: int, runs: int, pretended: Pretend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "BATCH", batch)
    monkeypatch.setattr(tflite, "BATCH_NS", 10**12)
    pretended(invoke="self.runs = getattr(self, 'runs', 0) + 1", result="x * 0 + self.runs")
    with opened(file) as session:
        once = session.stopwatch(X)
        assert len(measure(once, 2, 3, 0.0, 30.0)) == 3
        assert session.run(X)[0].max() == 1 + runs + 1  # one to send, the batches, and this one
        with pytest.raises(RunFailed, match="Input 'x'"):
            session.stopwatch(X[0])
    with pytest.raises(RunFailed, match="was closed"):
        session.stopwatch(X)()


AT_LOAD = {
    "an op it lacks": (
        {"load": "raise ValueError('Didn\\'t find op for builtin opcode 206 version 9.')"},
        RunFailed,
        r"2\.14\.0 cannot open model\.tflite: Didn't find op for builtin opcode 206 version 9\.$",
    ),
    "a signal": (
        {"load": "os.kill(os.getpid(), signal.SIGSEGV)"},
        DeviceFailed,
        r"2\.14\.0 ended \(SIGSEGV\) on model\.tflite\.$",
    ),
    "an open size": ({"shape": "[1, -1]"}, RunFailed, "has a dynamic size"),
    "text": ({"dtype": "np.object_"}, RunFailed, "element type that numpy cannot hold"),
    "too large": ({"shape": "[1 << 20, 1 << 12]"}, RunFailed, r"has 17179869184 bytes of"),
    "many dimensions": ({"shape": "[1] * 9"}, DeviceFailed, "in no way that can be read"),
}


@pytest.mark.parametrize("name", AT_LOAD)
def test_a_file_that_cannot_be_opened(name: str, pretended: Pretend, file: Path) -> None:
    code, kind, sentence = AT_LOAD[name]
    pretended(**code)
    with pytest.raises(kind, match=sentence):
        opened(file)


AT_RUN = {
    "an error": (
        {"invoke": "raise RuntimeError(self.path + ' is bad.\\nmore')"},
        RunFailed,
        r"2\.14\.0 failed while running model\.tflite: model\.tflite is bad\.$",
    ),
    "an abort": ({"invoke": "os.abort()"}, DeviceFailed, r"ended \(SIGABRT\) on model\.tflite"),
    "an exit": (
        {"invoke": "sys.stderr.write('no memory'); os._exit(9)"},
        DeviceFailed,
        r"ended \(exit code 9",
    ),
    "a hang": ({"invoke": "time.sleep(60)"}, DeviceFailed, r"took longer than 0\.5 s"),
    "another shape": ({"result": "x[0]"}, DeviceFailed, "no answer that can be read"),
    "another dtype": ({"result": "x.astype('f8')"}, DeviceFailed, "no answer that can be read"),
}


@pytest.mark.parametrize("name", AT_RUN)
def test_a_run_that_fails(
    name: str, pretended: Pretend, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, kind, sentence = AT_RUN[name]
    if name == "a hang":
        monkeypatch.setattr(tflite, "RUN_SECS", 0.5)
    pretended(**code)
    with opened(file) as session:
        with pytest.raises(kind, match=sentence):
            session.run(X)
        # A failure that was told may not repeat itself; a process that is gone stays gone.
        with pytest.raises(kind, match=sentence if kind is RunFailed else "was stopped"):
            session.run(X)


def test_it_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path, tiny: Any
) -> None:
    monkeypatch.setenv("EDGEVIT_TFLITE_HOME", str(tmp_path / "absent"))
    for attempt in (
        lambda: opened(file),
        lambda: versions("tflite"),
        lambda: local.cold_start(file, [X], 1, engine="tflite"),
    ):
        with pytest.raises(MissingRuntime, match="which is not set up") as caught:
            attempt()
        assert caught.value.next == "edgevit device setup tflite"
    with open_session(tiny.files["litert"]) as session:
        assert session.engine == "litert"  # whatever is there or not


def test_other_versions_are_refused(pretended: Pretend, file: Path) -> None:
    pretended(version="2.15.0")
    with pytest.raises(MissingRuntime, match="other versions than were installed") as caught:
        opened(file)
    assert caught.value.next == "edgevit device setup tflite --force"


def test_a_package_that_does_not_load_is_one_sentence(pretended: Pretend, file: Path) -> None:
    place = pretended()
    runtime = next(place.glob("lib/*/site-packages/tflite_runtime"))
    (runtime / "interpreter.py").write_text("raise ImportError('no GLIBC_2.99')")
    with pytest.raises(MissingRuntime, match=r"exit code 1: ImportError: no GLIBC_2\.99"):
        opened(file)


def test_a_python_that_does_not_start_is_one_sentence(pretended: Pretend, file: Path) -> None:
    place = pretended()
    (place / "bin" / "python").unlink()
    (place / "bin" / "python").write_text("no program")
    with pytest.raises(MissingRuntime, match="cannot be started: Permission denied"):
        opened(file)


def test_the_environment_of_the_user_is_left_out(
    pretended: Pretend, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pretended()
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with opened(file) as session:
        np.testing.assert_array_equal(session.run(X)[0], X * 2)
