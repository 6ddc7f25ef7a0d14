"""A whole bundle: its files, its fp32 network, its manifest."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from edgevit.bundle.manifest import Weights, dump
from edgevit.bundle.opened import MANIFEST, open_bundle
from edgevit.bundle.verify import verify_bundle
from edgevit.cli.views.evaluation import evaluation_columns, evaluation_facts, evaluation_rows
from edgevit.data import scenes
from edgevit.errors import CheckFailed, EnvironmentFailed, UsageError
from edgevit.evaluation import bundles
from edgevit.evaluation.bundles import evaluate_bundle, record
from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.gates import judge
from edgevit.prediction.predictor import predict
from edgevit.tasks.segmentation.score import confusion, mean_iou
from edgevit.tasks.task import Subject
from edgevit_runtimes.errors import DeviceFailed
from tests.support.once import writable

COUNT = 6


def drawn(bundle):
    return open_data("scenes", Subject.of(bundle.manifest), bundle.manifest.model)


@pytest.fixture(scope="module")
def found(segmenter):
    return evaluate_bundle(segmenter, drawn(segmenter), max_samples=COUNT)


def test_a_files_score_is_that_of_edgevit_run(segmenter, found):
    counts = np.zeros((10, 10), np.int64)
    for seed in scenes.HELD_OUT_SEEDS[:COUNT]:
        scene = scenes.scene(seed, 128, 128)
        counts += confusion(predict(segmenter, scene.image, "onnx").mask, scene.mask, 10)
    want = mean_iou(counts)[0]
    accuracy = found.files["model.onnx"].accuracy
    assert accuracy.value == want
    assert accuracy.reference == pytest.approx(want, abs=1e-3)
    assert 0.15 < want < 1
    assert (found.metric, found.samples, found.labeled) == ("mIoU", COUNT, True)
    first = scenes.HELD_OUT_SEEDS[0]
    assert found.data == f"drawn scenes {first}-{first + COUNT - 1}"


def test_a_file_that_cannot_run_here_is_left_out_and_told(segmenter, found):
    assert list(found.files) == ["model.onnx"]
    assert "macOS" in found.skipped["model.mlpackage"]
    with pytest.raises(DeviceFailed):
        evaluate_bundle(segmenter, drawn(segmenter), max_samples=1, formats=("coreml",))


def test_rows_and_data(found):
    rows = evaluation_rows(found)
    assert rows[0][0] == "model.onnx"
    assert rows[0][4:] == ["no gate", "yes"]
    assert {len(row) for row in rows} == {len(evaluation_columns(found))}
    content = evaluation_facts(found)
    assert content["files"][0]["value"] == found.files["model.onnx"].accuracy.value
    assert content["reference"] == found.reference
    assert content["files"][0]["passed"] is True
    found.require()


def test_a_file_that_misses_its_gate_fails(found):
    accuracy = replace(found.files["model.onnx"].accuracy, value=0.1)
    assert found.reference > 0.15
    worse = replace(found, verdicts={"model.onnx": judge("w8a8", accuracy)})
    with pytest.raises(CheckFailed, match=r"model\.onnx misses its accuracy gate: mIoU 0\.1000"):
        worse.require()
    assert evaluation_rows(worse)[0][4:] == ["97%", "NO"]


def test_scores_go_into_the_manifest_which_stays_sealed(segmenter_copy, found):
    assert segmenter_copy.manifest.accuracy == "not measured"
    bundle = record(segmenter_copy, found)
    assert bundle.manifest.accuracy == "measured"
    (entry,) = bundle.entry("onnx").accuracy
    assert entry == found.files["model.onnx"].accuracy
    assert bundle.entry("coreml").accuracy == ()
    assert (bundle.path / MANIFEST).read_text() == dump(bundle.manifest)
    verify_bundle(bundle, ("onnx",))
    # The same again changes nothing, and another data set is added.
    assert record(bundle, found).manifest == bundle.manifest
    accuracy = replace(entry, data="photos", value=0.5)
    other = replace(
        found, files={"model.onnx": replace(found.files["model.onnx"], accuracy=accuracy)}
    )
    assert record(bundle, other).entry("onnx").accuracy == (entry, accuracy)


def test_a_bundle_that_was_exported_anew_is_not_written_to(segmenter_copy, found):
    manifest = segmenter_copy.manifest
    other = replace(manifest, files=(replace(manifest.files[0], sha256="0" * 64),))
    (segmenter_copy.path / MANIFEST).write_text(dump(other))
    with pytest.raises(CheckFailed, match="exported again in the meantime"):
        record(segmenter_copy, found)


def test_a_bundle_that_cannot_be_written_is_refused(segmenter_copy, found):
    segmenter_copy.path.chmod(0o555)
    try:
        with pytest.raises(EnvironmentFailed, match="read-only"):
            record(segmenter_copy, found)
    finally:
        segmenter_copy.path.chmod(0o755)


def test_a_changed_file_is_not_scored(segmenter_copy):
    with (segmenter_copy.path / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(CheckFailed, match="its hash differs"):
        evaluate_bundle(segmenter_copy, drawn(segmenter_copy), max_samples=1)


def test_an_interrupted_evaluation_goes_on_and_leaves_nothing(segmenter_copy, found):
    data = drawn(segmenter_copy)

    def stopped(index):
        if index == 5:
            raise KeyboardInterrupt
        return data.open(index)

    place, notes, opened = segmenter_copy.path.parent, [], []
    with pytest.raises(KeyboardInterrupt):
        evaluate_bundle(
            segmenter_copy,
            replace(data, open=stopped),
            max_samples=COUNT,
            batch=2,
            note=notes.append,
        )
    (state,) = place.glob(".bundle.eval-*.json")
    assert "the same command resumes" in notes[0]
    verify_bundle(segmenter_copy, ("onnx",))  # nothing lies in the bundle

    def counted(index):
        opened.append(index)
        return data.open(index)

    again = replace(data, open=counted)
    other = evaluate_bundle(segmenter_copy, again, max_samples=COUNT - 1, batch=2)
    assert other.samples == COUNT - 1
    assert opened == list(range(COUNT - 1))  # another number of samples is another evaluation
    assert state.exists()
    opened.clear()
    resumed = evaluate_bundle(segmenter_copy, again, max_samples=COUNT, batch=2)
    assert opened == [4, 5]
    assert resumed.files["model.onnx"].accuracy.value == found.files["model.onnx"].accuracy.value
    assert resumed.reference == pytest.approx(found.reference, abs=1e-6)
    assert list(place.glob(".bundle.eval-*")) == []


def test_without_the_weights_files_are_scored_alone(segmenter, found, tmp_path):
    place = tmp_path / "bundle"
    shutil.copytree(segmenter.path, place)
    writable(place)
    weights = Weights("official.pth", "0" * 64, "read as mmseg")
    (place / MANIFEST).write_text(dump(replace(segmenter.manifest, weights=weights)))
    bundle = open_bundle(place)
    alone = evaluate_bundle(bundle, drawn(bundle), max_samples=COUNT)
    assert alone.files["model.onnx"].accuracy == replace(
        found.files["model.onnx"].accuracy, reference=None
    )
    assert alone.reference is None
    assert "official.pth are not here" in alone.unreferenced
    assert alone.verdicts == {}
    assert evaluation_rows(alone)[0][2:] == ["-"] * 4
    assert evaluation_facts(alone)["files"][0]["passed"] is None
    with pytest.raises(UsageError, match="no labels, and there is no fp32"):
        evaluate_bundle(bundle, drawn(bundle).unlabeled(), max_samples=COUNT)
    bundle = record(bundle, alone)
    assert bundle.manifest.accuracy == "measured"


def test_pictures_without_labels_give_agreement(segmenter_copy, tmp_path, paint):
    for color in ("red", "green", "blue"):
        paint(tmp_path / "photos" / f"{color}.png", color, (90, 70))
    subject = Subject.of(segmenter_copy.manifest)
    agreed = evaluate_bundle(
        segmenter_copy, open_data(tmp_path / "photos", subject, "topformer-t"), batch=2
    )
    accuracy = agreed.files["model.onnx"].accuracy
    assert (accuracy.metric, accuracy.labeled) == ("mIoU agreement", False)
    assert accuracy.value > 0.99
    assert accuracy.data.startswith("photos (")
    assert agreed.verdicts["model.onnx"].share == accuracy.value
    assert record(segmenter_copy, agreed).manifest.accuracy == "agreement only"


def test_a_place_beside_the_bundle_is_needed(segmenter_copy, monkeypatch):
    def refuse(path):
        raise EnvironmentFailed(f"{path} cannot be written to.")

    monkeypatch.setattr(bundles, "check_writable", refuse)
    with pytest.raises(EnvironmentFailed):
        evaluate_bundle(segmenter_copy, drawn(segmenter_copy), max_samples=1)
    evaluate_bundle(segmenter_copy, drawn(segmenter_copy), max_samples=1, resume=False)
    assert [path.name for path in segmenter_copy.path.parent.iterdir()] == ["bundle"]
