"""`edgevit eval`."""

import json
import shutil
from pathlib import Path

import pytest

from edgevit.bundle.opened import open_bundle
from edgevit.cli import main
from edgevit.evaluation import gates
from tests.support.once import writable


@pytest.fixture
def bundle(exported, tmp_path):
    vit = exported("vit-micro", only_formats=("onnx",), input_size=(64, 64), reparameterize=False)
    return writable(Path(shutil.copytree(vit.path, tmp_path / "out")))


def run(*words):
    with pytest.raises(SystemExit) as left:
        main(["eval", *map(str, words)])
    return left.value.code or 0


def test_scenes_are_scored_and_written(bundle, capsys):
    assert run(bundle, "--data", "scenes", "--max-samples", 8) == 0
    told = capsys.readouterr()
    head, row = (line.split("\t") for line in told.out.splitlines())
    assert head == ["file", "top-1", "fp32", "kept", "asked", "passed"]
    assert (row[0], row[4], row[5]) == ("model.onnx", "no gate", "yes")
    assert "wrote the scores into" in told.err
    assert told.err.splitlines()[-1] == f"Next: edgevit bench {bundle}"
    manifest = open_bundle(bundle).manifest
    assert manifest.accuracy == "measured"
    assert manifest.files[0].accuracy[0].samples == 8


def test_json_is_one_document(bundle, capsys):
    words = ("--data", "scenes", "--max-samples", 4, "--batch", 3, "--threads", 2, "-r", "onnx")
    assert run(bundle, *words, "--json", "--quiet") == 0
    told = capsys.readouterr()
    assert told.err == ""
    found = json.loads(told.out)
    assert found["samples"] == 4
    assert found["metric"] == "top-1"
    assert found["files"][0]["path"] == "model.onnx"
    assert found["reference"] is not None


def test_a_missed_gate_exits_with_1_and_is_written_all_the_same(bundle, capsys, monkeypatch):
    gate = gates.Gate("top-1", 2.0, "nothing passes")
    monkeypatch.setattr(gates, "gate_of", lambda *_: gate)
    assert run(bundle, "--data", "scenes", "--max-samples", 4) == 1
    told = capsys.readouterr()
    assert "Error: model.onnx misses its accuracy gate: top-1" in told.err
    assert "the same command with --accept-accuracy" in told.err
    assert told.out.splitlines()[1].endswith("200%\tNO")
    assert open_bundle(bundle).manifest.accuracy == "measured"
    words = ("--data", "scenes", "--max-samples", 4, "--accept-accuracy")
    assert run(bundle, *words) == 0


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--data", "nowhere"), "The data folder nowhere does not exist"),
        (("--data", "scenes", "--max-samples", 0), "--max-samples takes a number from 1"),
        (("--data", "scenes", "--batch", 0), "--batch takes a number from 1"),
        (("--data", "scenes", "--zero-label", "keep"), "--zero-label is for folders of masks"),
        (("--data", "scenes", "-r", "litert"), "has no litert file"),
        (("--data", "scenes", "--weights", "no.pth"), "no.pth"),
        ((), "--data"),
    ],
)
def test_what_cannot_be_done_exits_with_2(words, why, bundle, capsys):
    assert run(bundle, *words) == 2
    told = capsys.readouterr().err
    assert why in told
    assert "Next: " in told
    assert open_bundle(bundle).manifest.accuracy == "not measured"


def test_ctrl_c_says_how_to_go_on(bundle, capsys, monkeypatch):
    from edgevit.data import scenes

    drawn, calls = scenes.scene, []

    def scene(*given):
        calls.append(given)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return drawn(*given)

    words = ("--data", "scenes", "--max-samples", 8, "--batch", 2)
    monkeypatch.setattr(scenes, "scene", scene)
    assert run(bundle, *words) == 130
    assert "Saved the counts of 4 of 8 scenes; the same command resumes" in (
        capsys.readouterr().err
    )
    assert len(list(bundle.parent.glob(".out.eval-*.json"))) == 1
    assert run(bundle, *words) == 0
    assert "Resuming after 4 of 8 scenes" in capsys.readouterr().err
    assert len(calls) == 6 + 4
    assert list(bundle.parent.glob(".out.eval-*.json")) == []


@pytest.mark.usefixtures("emulated_device")
def test_scores_of_another_device_stand_beside_its_name(bundle, capsys):
    words = ("--data", "scenes", "--max-samples", 2, "--device", "emulated:cortex-a77")
    assert run(bundle, "--data", "scenes", "--max-samples", 2, "--quiet") == 0
    here = open_bundle(bundle).manifest.files[0].accuracy
    capsys.readouterr()
    assert run(bundle, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["device"] == "emulated:cortex-a77"
    (file,) = open_bundle(bundle).manifest.files
    (there,) = file.elsewhere
    assert file.accuracy == here, "what was measured here stays"
    assert there.device == "emulated:cortex-a77"
    assert there.verification.status == "executed"
    assert (there.accuracy[0].metric, there.accuracy[0].samples) == ("top-1", 2)
    assert there.accuracy[0].value == here[0].value, "fp32 answers alike on ARM"
    run(bundle, *words, "--quiet")
    assert open_bundle(bundle).manifest.files[0].elsewhere == (there,)


def test_a_device_that_is_not_set_up_is_told_before_anything_is_measured(
    bundle, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("EDGEVIT_EMULATED_HOME", str(tmp_path / "absent"))
    assert run(bundle, "--data", "scenes", "--device", "emulated:cortex-a77") == 3
    assert "edgevit device setup emulated" in capsys.readouterr().err
    assert run(bundle, "--data", "scenes", "--device", "gpu") == 2
