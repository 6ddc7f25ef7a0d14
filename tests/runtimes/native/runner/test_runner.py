"""The native runner on this machine, with the libraries of the wheels that are installed here."""

import json
import subprocess
from importlib.metadata import distribution, version
from pathlib import Path

import numpy as np
import pytest

from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import to_file
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.profiles import read_profile
from edgevit_runtimes.runners.native import Asked, Told, read_told
from tests.support.native import built, runner_libraries
from tests.support.once import Shared

FORMATS = {"onnx": "onnxruntime", "litert": "litert", "executorch": "executorch"}


def library(engine: str) -> Path | None:
    names = {
        "onnxruntime": (
            "onnxruntime",
            f"onnxruntime/capi/libonnxruntime.so.{version('onnxruntime')}",
        ),
        "litert": ("ai-edge-litert", "ai_edge_litert/libLiteRt.so"),
    }
    if engine not in names:
        return None
    package, file = names[engine]
    return Path(str(distribution(package).locate_file(file)))


def start(shared: Shared, engine: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    program = built(shared, "host") / "runner" / f"edgevit-run-{engine}"
    return subprocess.run(
        [str(program), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"LD_LIBRARY_PATH": str(runner_libraries())},
    )


def run(
    shared: Shared, folder: Path, bundle: Bundle, format_: str, asked: Asked
) -> tuple[Told, list[np.ndarray], list[np.ndarray]]:
    """What was told, what came out, and what this machine's session computes."""
    entry, engine = bundle.entry(format_), FORMATS[format_]
    inputs = [to_file(bundle.golden("input"), entry.inputs[0])]
    paths = [folder / f"in{i}" for i in range(len(inputs))]
    for path, array in zip(paths, inputs, strict=True):
        np.ascontiguousarray(array).tofile(path)
    with open_session(bundle.path / entry.path) as session:
        expected = list(session.run(*inputs))
    outputs = [folder / f"out{i}" for i in range(len(expected))]
    words = asked.words(bundle.path / entry.path, library(engine), paths, outputs)
    done = start(shared, engine, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    told = read_told(done.stdout.splitlines(), entry.path)
    got = [
        np.fromfile(path, want.dtype).reshape(want.shape)
        for path, want in zip(outputs, expected, strict=True)
    ]
    return told, got, expected


@pytest.mark.parametrize("format_", list(FORMATS))
def test_it_computes_what_the_python_session_computes(
    shared: Shared, tmp_path: Path, host_bundle: Bundle, format_: str
) -> None:
    asked = Asked(warmup=1, runs=70, min_secs=0.01, marks=True)
    told, got, expected = run(shared, tmp_path, host_bundle, format_, asked)
    for result, want in zip(got, expected, strict=True):
        assert np.array_equal(result, want)
    assert told.done
    assert len(told.samples_ns) >= 70  # more than one line of samples
    assert all(sample > 0 for sample in (*told.samples_ns, told.load_ns, told.first_ns or 0))
    # A resident ONNX Runtime alone takes 20 MB; what starts the program may hold gigabytes.
    assert told.peak_rss_kib is not None
    assert 5_000 < told.peak_rss_kib < 500_000


def test_versions_are_those_of_the_libraries(
    shared: Shared, tmp_path: Path, host_bundle: Bundle
) -> None:
    for format_, package in (("onnx", "onnxruntime"), ("executorch", "executorch")):
        told, _, _ = run(shared, tmp_path, host_bundle, format_, Asked(runs=0))
        assert told.version == version(package)
        assert told.samples_ns == ()


def test_max_secs_ends_it_before_its_runs(
    shared: Shared, tmp_path: Path, host_bundle: Bundle
) -> None:
    asked = Asked(runs=10**6, max_secs=0.05)
    told, _, _ = run(shared, tmp_path, host_bundle, "onnx", asked)
    assert 0 < len(told.samples_ns) < 10**5


def failure(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    with pytest.raises(RunFailed) as caught:
        read_told(done.stdout.splitlines(), "model")
    return caught.value.message


@pytest.mark.parametrize("engine", list(FORMATS.values()))
def test_a_file_that_is_none_is_one_sentence(shared: Shared, tmp_path: Path, engine: str) -> None:
    (tmp_path / "model").write_bytes(b"no model at all, but long enough to be looked into" * 9)
    for model in (tmp_path / "model", tmp_path / "absent"):
        words = Asked().words(model, library(engine))
        assert failure(start(shared, engine, *words))


def test_a_library_that_is_none_is_named(shared: Shared, tmp_path: Path) -> None:
    for engine, name in (("onnxruntime", "libonnxruntime"), ("litert", r"libLiteRt\.so")):
        (tmp_path / "lib.so").write_bytes(b"no library")
        for file in (tmp_path / "lib.so", tmp_path / "absent.so", "libm.so.6"):
            done = start(shared, engine, "--model", "m", "--library", file)
            assert name.replace("\\", "") in failure(done)


def test_inputs_must_be_those_of_the_file(
    shared: Shared, tmp_path: Path, host_bundle: Bundle
) -> None:
    model = host_bundle.path / host_bundle.entry("onnx").path
    (tmp_path / "in").write_bytes(bytes(64 * 64 * 3 * 4))
    (tmp_path / "short").write_bytes(bytes(64 * 64 * 3 * 4 - 1))
    (tmp_path / "long").write_bytes(bytes(64 * 64 * 3 * 4 + 1))
    for inputs, message in (
        ([tmp_path / "short"], "does not have the size"),
        ([tmp_path / "long"], "does not have the size"),
        ([tmp_path / "absent"], "cannot be read"),
        ([tmp_path / "in"] * 2, "are not those of the file's ports"),
    ):
        words = Asked().words(model, library("onnxruntime"), inputs)
        assert message in failure(start(shared, "onnxruntime", *words))
    words = Asked().words(
        model, library("onnxruntime"), [tmp_path / "in"], [tmp_path / "no" / "folder"]
    )
    assert "cannot be written" in failure(start(shared, "onnxruntime", *words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "misses --model"),
        (("--model",), "misses a value for --model"),
        (("--model", "m", "--threads", "0"), "takes 1 to 64 for --threads"),
        (("--model", "m", "--runs", "-1"), "takes a number for --runs"),
        (("--model", "m", "--runs", "1x"), "takes a number for --runs"),
        (("--model", "m", "--cpu-mask", "xyz"), "takes hex digits for --cpu-mask"),
        (("--model", "m", "--colour", "red"), "does not know --colour"),
    ],
)
def test_wrong_arguments_are_code_2(shared: Shared, words: tuple[str, ...], message: str) -> None:
    done = start(shared, "litert", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"edgevit-run-litert: {message}\n"


def test_a_mask_of_cores_that_are_not_there_is_refused(shared: Shared) -> None:
    done = start(shared, "onnxruntime", "--model", "m", "--cpu-mask", "8000000000000000")
    assert "cannot be pinned" in failure(done)


def test_names_come_as_json(shared: Shared, tmp_path: Path) -> None:
    """Whatever a file's name holds, a line is JSON."""
    strange = tmp_path / 'a"b\\c\n\té.onnx'
    done = start(
        shared, "onnxruntime", "--model", strange, "--library", str(library("onnxruntime"))
    )
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["failed"]


def test_settings_and_a_profile_of_the_runtime_itself(
    shared: Shared, host_bundle: Bundle, tmp_path: Path
) -> None:
    asked = Asked(warmup=1, runs=3, settings={"mlas.disable_kleidiai": "1"}, profile=True)
    entry = host_bundle.entry("onnx")
    np.ascontiguousarray(host_bundle.golden("input")).tofile(tmp_path / "in")
    model = (host_bundle.path / entry.path).resolve()
    words = asked.words(model, library("onnxruntime"), [tmp_path / "in"])
    place = words.index("--profile") + 1
    words[place] = str(tmp_path / "profile")
    done = start(shared, "onnxruntime", *words)
    assert done.returncode == 0, done.stdout
    found = read_profile(tmp_path / "profile", "model.onnx")
    assert {"Conv", "MatMul"} & {one.kind for one in found}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "profile"]


@pytest.mark.parametrize("format_", ["litert", "executorch"])
def test_what_a_runtime_does_not_have_is_refused(
    shared: Shared, host_bundle: Bundle, format_: str
) -> None:
    engine, entry = FORMATS[format_], host_bundle.entry(format_)
    words = Asked().words(host_bundle.path / entry.path, library(engine))
    for more, message in ((("--setting", "a=b"), "settings"), (("--profile", "x"), "profile")):
        done = start(shared, engine, *words, *more)
        assert done.returncode == 1
        with pytest.raises(RunFailed, match=f"{engine}.*: has no.*{message}"):
            read_told(done.stdout.splitlines(), "m")


@pytest.mark.parametrize("text", ["", "a", "=b", f"{'a' * 256}=b", f"a={'b' * 256}"])
def test_a_setting_that_is_none_is_a_wrong_argument(shared: Shared, text: str) -> None:
    done = start(shared, "onnxruntime", "--model", "m", "--setting", text)
    assert done.returncode == 2
