"""Quantized files: calibrated, held to their gate, and what `int8` becomes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from edgevit.bundle.opened import open_bundle
from edgevit.bundle.parity import Verification
from edgevit.bundle.verify import verify_bundle
from edgevit.deployment import export as export_module
from edgevit.deployment import rounds as rounds_module
from edgevit.deployment.export import deploy
from edgevit.deployment.files import Made
from edgevit.deployment.prepare import edit, prepare
from edgevit.deployment.rounds import make_files
from edgevit.errors import CheckFailed, UsageError
from edgevit.evaluation.gates import Verdict
from edgevit.prediction.predictor import predict
from edgevit.request.precisions import candidates
from edgevit.request.spec import DeploySpec, Evaluate, Quantize, Source
from edgevit.steps import silent
from edgevit_export.artifact import Artifact
from edgevit_export.formats import FORMATS
from edgevit_runtimes.errors import RunFailed


@pytest.fixture(scope="module")
def int8(tmp_path_factory):
    """vit-micro as int8 in one format, and what was told on the way."""
    told = []
    spec = DeploySpec(
        "vit-micro",
        tmp_path_factory.mktemp("int8") / "out",
        only_formats=("onnx",),
        precision="int8",
        evaluate=Evaluate(compare_speed=False, samples=30),
        quantize=Quantize(samples=8),
    )
    return deploy(spec, told.append), told


def test_int8_is_the_first_recipe_that_keeps_its_gate(int8):
    bundle, told = int8
    manifest, (file,) = bundle.manifest, bundle.manifest.files
    assert manifest.precision == "int8"
    assert file.precision == "w8a8"
    assert file.verification.status == "executed"
    assert file.verification.sqnr > 20
    (accuracy,) = file.accuracy
    assert (accuracy.metric, accuracy.samples, accuracy.labeled) == ("top-1", 30, True)
    assert accuracy.value >= 0.98 * accuracy.reference
    assert manifest.accuracy == "measured"
    assert any(step.kind == "done" and "passes its gate" in step.text for step in told)


def test_what_the_ranges_were_read_from_is_in_the_manifest(int8):
    bundle, told = int8
    found = bundle.manifest.calibration
    assert found.data == "drawn scenes from 1100000 on"
    assert len(found.sha256) == 8
    assert found.observer == "mse"
    assert found.edits
    assert any("Calibrated on 8 drawn scenes" in step.text for step in told)


def test_the_bundle_is_verified_as_any_other(int8):
    bundle, _ = int8
    again = open_bundle(bundle.path)
    found = verify_bundle(again)
    assert found["model.onnx"].status == "executed"
    assert found["model.onnx"].cosine > 0.95
    image = np.full((112, 112, 3), 128, np.uint8)
    assert predict(again, image).guesses


def test_the_same_inputs_give_the_same_bytes(int8, tmp_path):
    bundle, _ = int8
    spec = DeploySpec(
        "vit-micro",
        tmp_path / "out",
        only_formats=("onnx",),
        precision="int8",
        quantize=Quantize(samples=8),
        evaluate=Evaluate(compare_speed=False, samples=30),
    )
    again = deploy(spec)
    assert again.manifest == bundle.manifest


def test_random_weights_are_not_gated(tmp_path):
    told = []
    spec = DeploySpec(
        "vit-micro",
        tmp_path / "out",
        only_formats=("onnx",),
        precision="w8a8",
        source=Source(random=True),
        quantize=Quantize(samples=4, edit_weights=False),
        evaluate=Evaluate(compare_speed=False),
    )
    bundle = deploy(spec, told.append)
    assert bundle.manifest.accuracy == "not measured"
    assert bundle.manifest.calibration.edits == ()
    assert any("accuracy not measured" in step.text for step in told)


# What is tried in which order: files and measurements are made up.


def test_what_stays_float_must_be_a_part_of_the_network(tmp_path):
    spec = DeploySpec("vit-micro", tmp_path / "out", only_formats=("onnx",), precision="w8")
    with pytest.raises(UsageError, match=r"--keep-float blocks.9 matches no layer of the network"):
        deploy(
            replace(
                spec, quantize=replace(spec.quantize, keep_float=("blocks.0.attn.qkv", "blocks.9"))
            )
        )
    assert not spec.output_dir.exists()
    bundle = deploy(
        replace(
            spec,
            quantize=replace(spec.quantize, keep_float=("blocks.0", "head")),
            evaluate=replace(spec.evaluate, compare_speed=False),
        )
    )
    assert dict(bundle.manifest.files[0].facts)["float_layers"] == 5


def test_w8dyn_that_a_recipe_serves_says_what_edits_were_found_on(tmp_path):
    spec = DeploySpec(
        "mvitv2-micro",
        tmp_path / "out",
        only_formats=("onnx",),
        precision="w8dyn",
        source=Source(random=True),
        quantize=Quantize(samples=4),
        evaluate=Evaluate(compare_speed=False),
    )
    found = deploy(spec).manifest.calibration
    assert (found.edits, found.observer, len(found.sha256)) == (("equalize-norms",), "none", 4)
    plain = replace(spec, quantize=replace(spec.quantize, edit_weights=False))
    made = SimpleNamespace(artifact=SimpleNamespace(precision="w8dyn"))
    prepared = prepare(plain, silent)
    entry = export_module._calibration_entry(prepared, edit(prepared, silent), [made])
    assert entry is None, "nothing was found on any sample"


def verdict(passed: bool, labeled: bool = True) -> Verdict:
    return Verdict("top-1", 0.5, 0.8, 0.625, 0.98, 10, passed, "made up", labeled)


@pytest.fixture
def rounds(tmp_path, monkeypatch):
    """make_files with recipes that pass, miss their gate or fail parity, or have a number of dB and
    no labels, by (format, precision).
    """

    def run(outcomes, formats=("onnx",), precision="int8", **change):
        spec = DeploySpec(
            "vit-micro", tmp_path, only_formats=formats, precision=precision, **change
        )
        told, tried = [], []

        def make(prepared, edited, name, scheme, folder, report):
            word = scheme.precision
            tried.append((name, word))
            if outcomes.get((name, word)) == "wrong":
                raise CheckFailed(f"{name} does not compute what the network computes.")
            path = folder / f"model{FORMATS[name].suffix}"
            path.write_bytes(b"file")
            if outcomes.get((name, word)) == "broken":
                raise RunFailed(f"{name} cannot open {path.name}.")
            artifact = Artifact(name, path, word, 4, "0" * 64, (), (), {})
            found = outcomes.get((name, word))
            sqnr = found if isinstance(found, float) else None
            return Made(artifact, Verification("executed", "", sqnr=sqnr), ())

        def gated(prepared, made, report):
            return {
                name: replace(
                    file,
                    verdict=verdict(
                        outcomes.get((name, file.artifact.precision)) != "misses",
                        file.verification.sqnr is None,
                    ),
                )
                for name, file in made.items()
            }

        monkeypatch.setattr(rounds_module, "make_file", make)
        monkeypatch.setattr(rounds_module, "_gated", gated)
        monkeypatch.setattr(rounds_module, "find_mixture", lambda *_: ("blocks.0",))
        monkeypatch.setattr(rounds_module, "with_rounding", lambda error, *_: error)
        prepared = SimpleNamespace(
            spec=spec, reference=None, cases=(), subject=SimpleNamespace(task="x")
        )
        return (lambda: make_files(prepared, None, tmp_path, told.append)), tried, told

    return run


def test_a_recipe_that_misses_gives_way_to_the_next(rounds):
    run, tried, told = rounds({("onnx", "w8a8"): "misses"})
    (made,) = run()
    assert tried == [("onnx", "w8a8"), ("onnx", "mixed")]
    assert made.artifact.precision == "mixed"
    notes = [step.text for step in told if step.kind == "note"]
    assert any("w8a8 misses its accuracy gate" in note and "trying mixed" in note for note in notes)
    assert any("model.onnx is mixed; before: w8a8 misses" in note for note in notes)


def test_formats_settle_on_their_own(rounds):
    run, tried, _ = rounds({("litert", "w8a8"): "misses"}, ("onnx", "litert"))
    made = {one.artifact.format: one.artifact.precision for one in run()}
    assert made == {"onnx": "w8a8", "litert": "mixed"}
    assert tried == [("onnx", "w8a8"), ("litert", "w8a8"), ("litert", "mixed")]


def test_one_that_computes_something_else_gives_way_too(rounds):
    run, tried, _ = rounds({("onnx", "w8a8"): "wrong"})
    (made,) = run()
    assert made.artifact.precision == "mixed"
    assert [word for _, word in tried] == ["w8a8", "mixed"]


def test_a_file_that_cannot_be_opened_gives_way_too(rounds):
    run, _, told = rounds({("onnx", "w8a8"): "broken"})
    (made,) = run()
    assert made.artifact.precision == "mixed"
    assert any("onnx cannot open model.onnx; trying mixed" in step.text for step in told)
    run, _, _ = rounds({("onnx", "w8a8"): "broken"}, precision="w8a8")
    with pytest.raises(RunFailed, match="cannot open"):
        run()


def test_where_none_keeps_its_gate_nothing_is_made(rounds):
    words = candidates("int8", "onnx")
    run, tried, _ = rounds({("onnx", word): "misses" for word in words})
    with pytest.raises(CheckFailed, match="misses its accuracy gate") as caught:
        run()
    assert [word for _, word in tried] == list(words)
    assert "--accept-accuracy" in caught.value.next
    assert caught.value.exit_code == 1


def test_without_labels_a_file_must_come_near_to_fp32(rounds):
    run, _, told = rounds({("onnx", "w8a8"): 24.6, ("onnx", "mixed"): 25.1})
    (made,) = run()
    assert made.artifact.precision == "mixed"
    said = "w8a8 has 24.6 dB to fp32; 25 are asked without labels"
    assert any(said in step.text for step in told)
    run, _, _ = rounds({("onnx", "w8a8"): 3.0}, precision="w8a8")
    assert run()[0].verification.sqnr == 3.0, "what was asked for by name has its gate alone"


@pytest.mark.parametrize(
    ("agreement", "said"), [(0.5, "agrees with fp32 on 50.0% of pixels"), (None, "not measured")]
)
def test_without_labels_a_map_must_agree_with_that_of_fp32(agreement, said):
    found = Verification("executed", "", agreement=agreement)
    made = Made(SimpleNamespace(precision="w8a8"), found, (), verdict=verdict(True, labeled=False))
    assert said in rounds_module._missed(made, others=True)
    assert rounds_module._missed(made, others=False) is None
    fine = replace(made, verification=replace(found, agreement=1.0))
    assert rounds_module._missed(fine, others=True) is None


def test_an_accepted_file_is_made_and_told(rounds):
    run, _, told = rounds(
        {("onnx", "w8a8"): "misses"}, precision="w8a8", evaluate=Evaluate(accept_accuracy=True)
    )
    (made,) = run()
    assert not made.verdict.passed
    assert any("MISSES its gate, accepted by --accept-accuracy" in step.text for step in told)


def test_parity_is_never_accepted(rounds):
    run, _, _ = rounds(
        {("onnx", "w8a8"): "wrong"}, precision="w8a8", evaluate=Evaluate(accept_accuracy=True)
    )
    with pytest.raises(CheckFailed, match="does not compute"):
        run()


def test_where_no_mixture_keeps_the_gate_the_next_precision_is_tried(rounds, monkeypatch):
    run, tried, told = rounds({("onnx", "w8a8"): "misses"}, ("onnx", "litert"))
    searches = []
    monkeypatch.setattr(rounds_module, "find_mixture", lambda *_: searches.append(1))
    made = {file.artifact.format: file.artifact.precision for file in run()}
    assert made == {"onnx": "w8dyn", "litert": "w8a8"}
    assert ("onnx", "mixed") not in tried
    assert len(searches) == 1, "one mixture serves all formats"
    assert any("No mixture of float and integer blocks" in step.text for step in told)
