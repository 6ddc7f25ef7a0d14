"""A quantized file beside its fp32 twin: what is said, and that it is the twin that was timed."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgevit.bundle.parity import Verification
from edgevit.deployment import speeds
from edgevit.deployment.export import export
from edgevit.deployment.files import Made
from edgevit.deployment.speeds import FEWEST, Speed, compare, measure_speeds
from edgevit.request.spec import DeploySpec, Evaluate
from edgevit_export.artifact import Artifact
from edgevit_export.errors import LoweringFailed
from edgevit_runtimes.errors import RunFailed


@pytest.mark.parametrize(
    ("ratio", "low", "high", "pays"),
    [(2.0, 1.9, 2.1, True), (1.01, 0.99, 1.03, False), (0.8, 0.7, 0.9, False)],
)
def test_what_does_not_win_beyond_doubt_does_not_pay(ratio, low, high, pays):
    speed = Speed("model.onnx", "w8a8", ratio, low, high, 20, "x86_64")
    assert speed.pays == pays
    assert f"{ratio:.2f} ({low:.2f} to {high:.2f})" in speed.sentence()
    assert ("is not faster here" in speed.sentence()) == (not pays)
    assert "x86_64, one thread" in speed.sentence()


def test_an_export_tells_it_of_every_file_that_is_not_fp32(tmp_path):
    told = []
    spec = DeploySpec(
        "vit-micro",
        tmp_path / "out",
        only_formats=("onnx", "coreml"),
        precision="w8",
        evaluate=Evaluate(samples=5, accept_accuracy=True),
    )
    exported = export(spec, told.append)
    bundle, (found,) = exported.bundle, exported.speeds
    assert exported.speed("model.onnx") is found
    assert exported.speed("model.mlpackage") is None
    assert (found.file, found.precision) == ("model.onnx", "w8")
    assert 0 < found.low <= found.ratio <= found.high
    assert found.rounds >= FEWEST
    notes = [step.text for step in told if step.kind == "note"]
    assert any(
        "model.mlpackage" in note and "speed beside fp32 is not known" in note for note in notes
    )
    assert sorted(path.name for path in bundle.path.glob("model*")) == [
        "model.mlpackage",
        "model.onnx",
    ]
    assert "speed" not in (bundle.path / "manifest.json").read_text("utf-8")


@pytest.mark.parametrize("change", [{"precision": "fp32"}, {"precision": "w8", "compare": False}])
def test_fp32_files_are_not_timed_nor_what_nobody_wants(change, tmp_path):
    spec = DeploySpec(
        "vit-micro",
        tmp_path / "out",
        only_formats=("onnx",),
        precision=change["precision"],
        evaluate=Evaluate(
            samples=5, accept_accuracy=True, compare_speed=change.get("compare", True)
        ),
    )
    assert export(spec).speeds == ()


def artifact(path, precision):
    return Artifact("onnx", path, precision, 4, "0" * 64, (), (), {})


def test_both_files_run_on_the_input_of_their_own(monkeypatch, tmp_path):
    ran = []

    class Session:
        def __init__(self, path, threads):
            assert threads == 1
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def run(self, array):
            ran.append((self.path.name, array.shape))

    monkeypatch.setattr(speeds, "open_session", Session)
    monkeypatch.setattr(speeds, "SECONDS", 0.0)
    spec = SimpleNamespace(layout="NHWC")
    own = artifact(tmp_path / "own.tflite", "w8a8")
    files = [
        SimpleNamespace(path=own.path, precision="w8a8", inputs=(spec,)),
        SimpleNamespace(path=tmp_path / "twin.tflite", precision="fp32", inputs=(spec,)),
    ]
    found = compare(*files, np.zeros((1, 3, 4, 5), np.float32))
    assert found.rounds == FEWEST
    names = [name for name, _ in ran]
    assert names.count("own.tflite") == names.count("twin.tflite") == FEWEST + 3
    assert {shape for _, shape in ran} == {(1, 4, 5, 3)}


@pytest.mark.parametrize("failure", [LoweringFailed, RunFailed])
def test_where_there_is_no_fp32_file_it_is_said(failure, monkeypatch, tmp_path):
    def fails(*_):
        raise failure("The exporter failed: why.")

    monkeypatch.setattr(speeds, "_twin", fails)
    told = []
    made = Made(artifact(tmp_path / "model.onnx", "w8"), Verification("executed", ""), ())
    prepared = SimpleNamespace(cases=[SimpleNamespace(inputs=[None])])
    assert measure_speeds(prepared, [made], told.append) == ()
    _, step = told
    assert "no fp32 file to time it beside (The exporter failed: why.)" in step.text
    assert step.kind == "note"
