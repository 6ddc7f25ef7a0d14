"""`edgevit quantize --qat`: trained networks become bundles that say so, and who may teach them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from edgevit.deployment import finetune as finetuning
from edgevit.deployment.export import deploy
from edgevit.deployment.finetune import QAT, RATES, fine_tune
from edgevit.errors import UsageError
from edgevit.evaluation.gates import GATES
from edgevit.quantize.training import FEWEST, Trained, Training
from edgevit.request.spec import DeploySpec, Evaluate, Quantize
from edgevit_runtimes.engines import open_session

SPEC = DeploySpec(
    "vit-micro",
    None,
    only_formats=("onnx",),
    precision="w8a8",
    quantize=Quantize(samples=FEWEST),
    evaluate=Evaluate(samples=10, accept_accuracy=True, compare_speed=False),
)
SHORT = Training(5e-5, steps=2, batch=2)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A precision's bundle of the same network without training, made once. Read only."""
    place = tmp_path_factory.mktemp("plain")
    return cache(lambda word: deploy(replace(SPEC, output_dir=place / word, precision=word)))


@pytest.mark.parametrize("precision", RATES)
def test_a_network_is_fine_tuned_and_its_bundle_says_so(precision, tmp_path):
    assert precision in GATES
    told = []
    spec = replace(SPEC, output_dir=tmp_path / "out", precision=precision)
    bundle = fine_tune(spec, None, SHORT, told.append).bundle
    (file,) = bundle.manifest.files
    assert file.precision == precision
    assert file.verification.status == "executed"
    assert file.accuracy[0].samples == 10
    assert "by itself in fp32" in bundle.manifest.weights.note
    assert f"fine-tuned for {precision}" in bundle.manifest.weights.note or any(
        "the weights do not change" in step.text for step in told
    )
    assert any("step 2 of 2" in step.text for step in told)


@pytest.mark.parametrize("precision", RATES)
def test_the_file_holds_the_weights_that_training_left(precision, plain, tmp_path, monkeypatch):
    """A training that moves the head's bias far must show in what the file answers."""

    def moved(student, parameters, *_):
        (name,) = (name for name in parameters if name.endswith("head.bias"))
        with torch.no_grad():
            parameters[name].add_(0.25)
        return Trained(2.0, 1.0, 7)

    monkeypatch.setattr(finetuning, "distill", moved)
    outputs = {}
    for name, tuned in (("plain", False), ("tuned", True)):
        spec = replace(SPEC, output_dir=tmp_path / name, precision=precision)
        bundle = fine_tune(spec, None, SHORT).bundle if tuned else plain(precision)
        (file,) = bundle.manifest.files
        with open_session(bundle.checked(file)) as session:
            outputs[name] = session.run(bundle.golden("input"))[0]
        edits = () if bundle.manifest.calibration is None else bundle.manifest.calibration.edits
        assert (QAT in edits) == (tuned and precision == "w8a8")
    assert "7 of 2 steps on 64 of drawn scenes" in bundle.manifest.weights.note
    # Where norms are folded first, the groups of 4 bits are others.
    apart = outputs["tuned"] - outputs["plain"]
    assert abs(apart.mean() - 0.25) < 0.05
    assert np.abs(apart - 0.25).max() < (0.1 if precision == "w8a8" else 0.5)


def test_a_training_that_helps_nothing_leaves_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(finetuning, "distill", lambda *_: Trained(1.0, 1.0, 0))
    told = []
    spec = replace(SPEC, output_dir=tmp_path / "out")
    bundle = fine_tune(spec, None, SHORT, told.append).bundle
    assert any("the weights do not change" in step.text for step in told)
    assert "not changed by 2 steps" in bundle.manifest.weights.note
    assert QAT not in bundle.manifest.calibration.edits


def test_a_bundle_teaches_by_its_fp32_file(plain, tmp_path, monkeypatch):
    seen = []

    def look(student, parameters, run, samples, *_):
        x = next(iter(samples))
        seen.append((run(x), student(x)))
        return Trained(1.0, 1.0, 0)

    monkeypatch.setattr(finetuning, "distill", look)
    spec = replace(SPEC, output_dir=tmp_path / "out", precision="w4")  # it needs no calibration
    bundle = fine_tune(spec, str(plain("fp32").path), SHORT).bundle
    ((wanted, got),) = seen
    assert wanted[0].shape == got[0].shape
    assert (wanted[0] - got[0]).abs().max() < 0.2 * wanted[0].abs().max()
    assert "vit-micro in model.onnx (sha256" in bundle.manifest.weights.note


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nobody", "neither a bundle nor a model"),
        ("topformer-t", "has another task"),
        ("vitpose-micro", "has another task"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(name, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        fine_tune(replace(SPEC, output_dir=tmp_path / "out"), name, SHORT)
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_an_fp32_file_does_not_teach(plain, tmp_path):
    with pytest.raises(UsageError, match="no executed fp32 file with logits"):
        fine_tune(replace(SPEC, output_dir=tmp_path / "out"), str(plain("w4").path), SHORT)


@pytest.mark.parametrize("precision", ["fp32", "int8", "w8dyn"])
def test_precisions_without_rounding_to_learn_are_refused(precision, tmp_path):
    with pytest.raises(UsageError, match="Fine-tuning is for w8a8 and w4"):
        fine_tune(replace(SPEC, output_dir=tmp_path / "out", precision=precision))


def test_masks_are_no_logits(tmp_path):
    spec = replace(SPEC, model="topformer-t", output_dir=tmp_path / "out", output="mask")
    with pytest.raises(UsageError, match="by its logits"):
        fine_tune(spec)
