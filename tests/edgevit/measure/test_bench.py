"""bench: which files are timed, on what, and what is written."""

import json
from dataclasses import replace

import pytest

from edgevit.bundle.manifest import dump
from edgevit.bundle.parity import Verification
from edgevit.cli.views.bench import COLUMNS, bench_rows
from edgevit.errors import CheckFailed, UsageError
from edgevit.measure import bench as measure
from edgevit.measure.bench import bench_bundle, write_result
from edgevit_runtimes.errors import DeviceFailed

QUICK = {"warmup": 0, "runs": 2, "min_secs": 0.0, "max_secs": 5.0, "repeat": 1}


@pytest.fixture
def timed(monkeypatch):
    """What would be measured, without measuring."""
    seen = {}

    def bench(files, inputs, hashes, **settings):
        seen.update(files=files, inputs=inputs, hashes=hashes, settings=settings)
        return "result"

    monkeypatch.setattr(measure, "bench", bench)
    return seen


def names(seen):
    return [path.name for path in seen["files"]]


def test_a_measurement_of_one_file(host_bundle, tmp_path):
    result = bench_bundle(host_bundle.path, ["onnx"], **QUICK)
    (row,) = result.rows
    assert row.sha256 == host_bundle.entry("onnx").sha256
    assert row.engine == "onnxruntime"
    assert len(row.samples_s) >= 2
    (cells,) = bench_rows(result)
    assert len(cells) == len(COLUMNS)
    assert cells[:2] == ["model.onnx", "1"]
    assert all(float(cell) >= 0 for cell in cells[2:8])
    path = tmp_path / "result.json"
    write_result(result, path)
    assert json.loads(path.read_text()) == json.loads(json.dumps(result.to_json()))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_computes_something_else_is_not_timed(host_bundle, timed, monkeypatch):
    golden = host_bundle.golden

    def other(name):
        return golden(name) + (name != "input")

    monkeypatch.setattr(type(host_bundle), "golden", lambda _, name: other(name))
    with pytest.raises(CheckFailed, match=r"model\.onnx"):
        bench_bundle(host_bundle.path, ["onnx"])
    assert timed == {}


def test_each_file_gets_the_golden_input_in_its_layout(host_bundle, timed):
    bench_bundle(host_bundle.path, ["onnx", "litert"])
    assert names(timed) == ["model.onnx", "model.tflite"]
    (nchw,), (nhwc,) = timed["inputs"]
    assert nchw.shape == (1, 3, 64, 64)
    assert nhwc.shape == (1, 64, 64, 3)
    assert (nchw == host_bundle.golden("input")).all()
    assert (nhwc.transpose(0, 3, 1, 2) == nchw).all()
    files = host_bundle.manifest.files
    assert timed["hashes"] == [f.sha256 for f in files if f.format in ("onnx", "litert")]


@pytest.fixture
def no_coreml(monkeypatch):
    """As on any machine but a Mac."""

    def prepare(engine):
        if engine.name == "coreml":
            raise DeviceFailed("Core ML runs on macOS only.")

    monkeypatch.setattr(measure, "prepare", prepare)


def test_what_cannot_run_here_is_left_out(host_bundle, timed, no_coreml):
    bench_bundle(host_bundle.path)
    assert names(timed) == ["model.onnx", "model.pte", "model.tflite"]
    bench_bundle(host_bundle.path, ["coreml"])
    assert names(timed) == ["model.mlpackage"]


def test_a_named_runtime_times_the_files_that_it_opens(host_bundle, timed, monkeypatch):
    monkeypatch.setattr(measure, "verify_file", lambda *_, **__: None)  # needs the runtime itself
    bench_bundle(host_bundle.path, engine="tflite")
    assert names(timed) == ["model.tflite"]
    assert timed["settings"]["engine"] == "tflite"


@pytest.mark.usefixtures("classic_runtime")
def test_the_classic_runtime_is_measured(host_bundle):
    (row,) = bench_bundle(host_bundle.path, engine="tflite", **QUICK).rows
    assert row.engine == "tflite"
    assert row.versions == {"tflite-runtime": "2.14.0", "numpy": "1.26.4"}
    assert len(row.samples_s) >= 2
    assert min(row.cold_imports_s) > 0


@pytest.fixture
def unverified(bundle_copy):
    """A bundle that was exported with --no-verify."""
    bundle = bundle_copy()
    skipped = Verification("not verified", "skipped by --no-verify")
    files = tuple(replace(file, verification=skipped) for file in bundle.manifest.files)
    text = dump(replace(bundle.manifest, files=files))
    (bundle.path / "manifest.json").write_text(text)
    return bundle


def test_a_bundle_that_was_never_verified_can_be_measured(unverified, timed, no_coreml):
    bench_bundle(unverified.path)
    assert names(timed) == ["model.onnx", "model.pte", "model.tflite"]


def test_hashes_are_checked_first(bundle_copy, timed):
    bundle = bundle_copy()
    path = bundle.path / "model.onnx"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckFailed, match="its hash differs"):
        bench_bundle(bundle.path, ["onnx"])
    assert not timed


def test_a_format_that_is_not_there(host_bundle):
    with pytest.raises(UsageError, match="The bundle has no ncnn file"):
        bench_bundle(host_bundle.path, ["ncnn"])
