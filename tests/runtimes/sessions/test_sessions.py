"""What every runtime that can run here has in common."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.session import Session

ENGINES_HERE = ("onnxruntime", "executorch", "litert")


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The one measure of difference."""
    return float(np.abs(a - b).max() / max(1.0, b.std()))


@pytest.fixture(params=ENGINES_HERE)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_equal_torch(tiny: Any, engine: str, threads: int) -> None:
    with open_session(tiny.files[engine], threads=threads) as session:
        outputs = session.run(*tiny.inputs)
    assert len(outputs) == 2
    for output, expected in zip(outputs, tiny.expected, strict=True):
        assert output.shape == expected.shape
        assert output.dtype == expected.dtype
        assert distance(output, expected) < 1e-5


def test_ports_tell_shapes_and_dtypes(tiny: Any, engine: str) -> None:
    with open_session(tiny.files[engine], engine=engine) as session:
        assert session.engine == engine
        assert [(port.shape, port.dtype) for port in session.inputs] == [((1, 3, 8, 6), "float32")]
        assert [(port.shape, port.dtype) for port in session.outputs] == [
            ((1, 2, 8, 6), "float32"),
            ((1, 4), "float32"),
        ]
        assert all(port.name for port in (*session.inputs, *session.outputs))


def test_outputs_survive_the_next_run_and_the_session(tiny: Any, engine: str) -> None:
    (x,) = tiny.inputs
    session = open_session(tiny.files[engine])
    first = session.run(x)
    kept = [output.copy() for output in first]
    session.run(np.zeros_like(x))
    session.close()
    del session
    for output, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(output, copy)


def test_strided_and_read_only_inputs_are_taken_as_they_are(tiny: Any, engine: str) -> None:
    (x,) = tiny.inputs
    strided = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    frozen = x.copy()
    frozen.flags.writeable = False
    assert not strided.flags.c_contiguous
    with open_session(tiny.files[engine]) as session:
        for given in (strided, frozen, x[..., ::-1][..., ::-1]):
            assert distance(session.run(given)[0], tiny.expected[0]) < 1e-5


def run_nothing(session: Session) -> None:
    session.run()


def run_double(session: Session) -> None:
    session.run(np.zeros((1, 3, 8, 6), np.float64))


def run_big_endian(session: Session) -> None:
    session.run(np.zeros((1, 3, 8, 6), ">f4"))


def run_turned(session: Session) -> None:
    session.run(np.zeros((1, 3, 6, 8), np.float32))


def run_list(session: Session) -> None:
    session.run([0.0])  # type: ignore[arg-type]


def run_closed(session: Session) -> None:
    session.close()
    session.run(np.zeros((1, 3, 8, 6), np.float32))


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        (run_nothing, "takes 1 inputs, and 0 were given"),
        (run_double, r"is float32 \[1, 3, 8, 6\], and float64 \[1, 3, 8, 6\] was given"),
        (run_big_endian, r"and >f4 \[1, 3, 8, 6\] was given"),
        (run_turned, r"float32 \[1, 3, 6, 8\] was given"),
        (run_list, "must be a numpy array"),
        (run_closed, "was closed"),
    ],
)
def test_wrong_inputs_are_one_sentence(
    tiny: Any, engine: str, attempt: Callable[[Session], None], sentence: str
) -> None:
    with (
        open_session(tiny.files[engine]) as session,
        pytest.raises(RunFailed, match=sentence) as caught,
    ):
        attempt(session)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda good: good[:7], id="head"),
        pytest.param(lambda good: good[: len(good) // 2], id="half"),
        pytest.param(lambda good: good[:-200], id="tail cut"),
        pytest.param(lambda good: bytes(len(good)), id="zeros"),
        pytest.param(lambda good: b"<html>404</html>\n" * 50, id="a web page"),
        pytest.param(lambda good: np.random.default_rng(0).bytes(4096), id="noise"),
        pytest.param(lambda good: good[8:], id="head cut"),
    ],
)
def test_a_broken_file_is_one_sentence(
    broken: Callable[[str, Callable[[bytes], bytes]], Path],
    engine: str,
    change: Callable[[bytes], bytes],
) -> None:
    path = broken(engine, change)
    with pytest.raises(RunFailed, match=path.name) as caught:
        open_session(path)
    assert "\n" not in caught.value.message
    assert caught.value.next is not None


def test_nothing_is_written_to_the_terminal(
    tiny: Any, engine: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for threads in (1, 2):
        with open_session(tiny.files[engine], threads=threads) as session:
            session.run(*tiny.inputs)
    assert capfd.readouterr() == ("", "")
