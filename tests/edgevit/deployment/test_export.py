"""deploy: what it seals, what it refuses, and that a failure leaves nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from edgevit.bundle.opened import open_bundle
from edgevit.bundle.parity import FP32_DIFFERENCE, MASK_AGREEMENT
from edgevit.data import scenes
from edgevit.deployment.export import deploy
from edgevit.deployment.golden import GOLDEN_SEED
from edgevit.deployment.load import load
from edgevit.deployment.prepare import RANDOM_CASES, golden_cases
from edgevit.deployment.rounding import rounding, with_rounding
from edgevit.difference import difference
from edgevit.errors import CheckFailed, CheckpointError, UsageError
from edgevit.networks.create import create_model
from edgevit.networks.line import PASSES
from edgevit.prediction.predictor import predict
from edgevit.request.check import check_request, preprocessing_for
from edgevit.request.spec import DeploySpec, Evaluate, Quantize, Source
from edgevit.steps import silent
from edgevit.tasks.preprocessing import preprocess
from edgevit_export import lower as lower_module
from edgevit_export.artifact import Artifact, content_sha256, content_size
from edgevit_export.errors import LoweringFailed, Unsupported
from edgevit_export.formats import FORMATS

SIZE = (64, 64)


@pytest.fixture
def spec(tmp_path, five_classes) -> DeploySpec:
    """The cheapest bundle: one .onnx file."""
    return DeploySpec(
        "topformer-t",
        tmp_path / "out",
        only_formats=("onnx",),
        source=Source(checkpoint=five_classes),
        input_size=SIZE,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory, five_classes):
    """That bundle, sealed once; read only."""
    folder = tmp_path_factory.mktemp("plain") / "bundle"
    return deploy(
        DeploySpec(
            "topformer-t",
            folder,
            only_formats=("onnx",),
            source=Source(checkpoint=five_classes),
            input_size=SIZE,
        )
    )


@pytest.fixture
def exported_with(plain, monkeypatch):
    """Let the exporter write the bundle's own file with another classifier in it."""
    import onnx

    def put(change):
        model = onnx.load(plain.path / "model.onnx")
        found = {tuple(t.dims): t for t in model.graph.initializer}
        tensors = [found[(5, 128, 1, 1)], found[(5,)]]
        values = change(*(onnx.numpy_helper.to_array(tensor) for tensor in tensors))
        for tensor, value in zip(tensors, values, strict=True):
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(values[1])
        entry = plain.manifest.files[0]

        def write(network, example, names, scheme, path):
            path.write_bytes(model.SerializeToString())
            size, sha256 = content_size(path), content_sha256(path)
            return Artifact(
                "onnx", path, "fp32", size, sha256, entry.inputs, entry.outputs, tools={}
            )

        monkeypatch.setattr(lower_module, "backend", lambda _: SimpleNamespace(write=write))

    return put


@pytest.fixture
def quick(exported_with) -> None:
    """The exporter gives the file of `plain`: for what is decided before and after it."""
    exported_with(lambda weight, bias: (weight, bias))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_bundle_says_what_it_is(plain, five_classes):
    manifest = plain.manifest
    assert manifest.model == "topformer-t"
    assert manifest.weights.source == five_classes.name
    assert manifest.weights.note == "read as torch-zip"
    assert manifest.input_size == SIZE
    assert (manifest.precision, manifest.output) == ("fp32", "logits")
    assert manifest.preprocessing.fit == "stretch"
    (file,) = manifest.files
    found = file.verification
    assert found.status == "executed"
    assert found.difference <= FP32_DIFFERENCE
    assert found.agreement == 1.0
    assert found.cases == 1 + RANDOM_CASES
    assert dict(found.runtime)["onnxruntime"]
    assert file.outputs[0].shape == (1, 5, 8, 8)
    plain.check()


def test_labels_come_from_the_checkpoint(plain):
    assert plain.manifest.labels == ("sky", "bed", "road", "tree", "person")
    assert (plain.path / "labels.txt").read_text() == "sky\nbed\nroad\ntree\nperson\n"


def test_every_pass_is_in_the_manifest_with_its_proof(plain):
    names = dict.fromkeys(entry.name for entry in PASSES if "onnx" in entry.formats)
    passes = plain.manifest.passes
    assert [entry.name for entry in passes] == [n for n in names if n in {p.name for p in passes}]
    assert "fold-batch-norms" in {entry.name for entry in passes}
    assert all(entry.difference <= 1e-9 for entry in passes)


def test_golden_data_is_the_picture_its_input_and_the_networks_output(plain, five_classes):
    with Image.open(plain.path / "golden" / "picture.png") as image:
        photo = np.array(image)
    assert np.array_equal(photo, scenes.scene(GOLDEN_SEED, *SIZE).image)
    tensor = preprocess(photo, plain.manifest.preprocessing).tensor
    assert np.array_equal(plain.golden("input"), tensor)
    network = create_model("topformer-t", weights=five_classes, input_size=SIZE)
    with torch.no_grad():
        logits = network(torch.from_numpy(tensor)).numpy()
    assert difference(plain.golden("logits"), logits) < 1e-6
    assert plain.golden("logits").dtype == np.float32


def test_nothing_of_this_machine_is_in_the_bundle(plain, five_classes):
    for name, content in contents(plain.path).items():
        for path in (str(five_classes.parent), str(plain.path.parent), sys.prefix, str(Path.cwd())):
            assert path.encode() not in content, name


def test_the_same_inputs_give_the_same_bytes(plain, spec):
    assert contents(deploy(spec).path) == contents(plain.path)


DEPLOY = """
import sys
from pathlib import Path
from edgevit.deployment.export import deploy
from edgevit.request.spec import DeploySpec
deploy(DeploySpec("topformer-t", Path(sys.argv[1]), input_size=(64, 64)))
"""


# A second export to all four formats in a process of its own takes a minute.
@pytest.mark.full
def test_another_process_with_other_hashes_gives_the_same_bytes_in_every_format(
    host_bundle, tmp_path
):
    done = subprocess.run(
        [sys.executable, "-c", DEPLOY, str(tmp_path / "again")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONHASHSEED": "77",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
    )
    assert done.returncode == 0, done.stderr
    one, two = contents(host_bundle.path), contents(tmp_path / "again")
    assert [name for name in one if one[name] != two.get(name)] == []
    assert set(one) == set(two)


def test_the_mask_is_verified_by_agreement(spec):
    bundle = deploy(replace(spec, output="mask"))
    (file,) = bundle.manifest.files
    assert [(s.name, s.shape, s.dtype) for s in file.outputs] == [("mask", (1, *SIZE), "int32")]
    assert file.verification.status == "executed"
    found = file.verification
    assert found.agreement >= 0.999
    assert (found.difference, found.absolute, found.cosine, found.sqnr) == (None,) * 4
    mask = bundle.golden("mask")
    assert mask.dtype == np.int32
    assert 0 <= mask.min() <= mask.max() < 5


def test_pad_is_in_the_manifest_and_used(spec, quick):
    bundle = deploy(replace(spec, fit="pad"))
    assert bundle.manifest.preprocessing.fit == "pad"
    photo = scenes.scene(GOLDEN_SEED + 1, 80, 180).image
    found = predict(bundle, photo)
    assert found.mask.shape == (80, 180)
    assert found.network_mask.shape == SIZE


def test_another_preprocessing_can_be_asked_for(spec, quick):
    bundle = deploy(replace(spec, preprocessing="augreg-adapter"))
    assert bundle.manifest.preprocessing.mean == (127.5, 127.5, 127.5)
    for wrong, sentence in (
        ("deit", "does not fit topformer-t: segmentation takes fit stretch or pad, not crop"),
        ("pose", "segmentation takes fit stretch or pad, not box"),
        ("drawn-video", "is for clips"),
        ("augerg", "did you mean augreg"),
    ):
        with pytest.raises(UsageError, match=sentence):
            check_request(replace(spec, preprocessing=wrong, force=True))


def test_without_rewrites_the_network_is_exported_as_it_was_trained(spec, plain):
    bundle = deploy(replace(spec, reparameterize=False))
    assert bundle.manifest.passes == ()
    assert bundle.manifest.files[0].verification.status == "executed"
    assert bundle.manifest.files[0].sha256 != plain.manifest.files[0].sha256
    assert np.array_equal(bundle.golden("logits"), plain.golden("logits"))


def test_no_verify_says_so(spec, quick):
    notes = []
    bundle = deploy(
        replace(spec, verify=replace(spec.verify, enabled=False)),
        lambda step: notes.append((step.kind, step.text)),
    )
    found = bundle.manifest.files[0].verification
    assert (found.status, found.reason) == ("not verified", "skipped by --no-verify")
    assert ("note", "model.onnx: not verified (--no-verify)") in notes
    assert found.difference is None


def test_core_ml_is_exported_and_says_that_it_was_not_run(spec):
    bundle = deploy(replace(spec, target="ios-arm64", only_formats=()))
    (file,) = bundle.manifest.files
    assert (file.format, file.precision) == ("coreml", "fp16")
    assert dict(file.facts)["compute_precision"] == "fp16"
    if file.verification.status == "not verified":
        assert file.verification.reason == "Core ML runs on macOS only"
    else:
        assert file.verification.cosine >= 0.999


@pytest.mark.parametrize("size", [(72, 104)])
def test_odd_sizes(spec, size):
    bundle = deploy(replace(spec, input_size=size))
    file = bundle.manifest.files[0]
    assert file.outputs[0].shape == (1, 5, 9, 13)
    assert file.verification.difference <= FP32_DIFFERENCE
    assert predict(bundle, scenes.scene(GOLDEN_SEED, 90, 70).image).network_mask.shape == size


@pytest.fixture
def saved(tmp_path, state_of) -> Callable[..., Path]:
    """A checkpoint of a named network."""

    def save(name: str, classes: int = 4, **meta: object) -> Path:
        options = {} if name.endswith("-features") else {"num_classes": classes}
        path = tmp_path / f"{name}.pth"
        state = state_of(create_model(name, **options))
        torch.save({"state_dict": state, "meta": meta}, path)
        return path

    return save


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("topformer-t-cls", {"logits"}), ("topformer-t-features", {"scale8", "scale16", "scale32"})],
)
def test_the_other_tasks(name, outputs, spec, saved):
    bundle = deploy(replace(spec, model=name, source=replace(spec.source, checkpoint=saved(name))))
    file = bundle.manifest.files[0]
    assert {output.name for output in file.outputs} == outputs
    assert file.verification.difference <= FP32_DIFFERENCE
    assert file.verification.agreement is None
    labelled = name.endswith("cls")
    assert bundle.manifest.labels == (tuple(f"class {i}" for i in range(4)) if labelled else ())
    assert (bundle.path / "labels.txt").exists() == labelled
    bundle.check()


# Three exporters at some ten seconds each, for each of these.
@pytest.mark.full
@pytest.mark.parametrize(
    "change",
    [
        {"output": "mask"},
        {"reparameterize": False},
        {"input_size": (72, 104)},
        {"model": "topformer-t-cls"},
        {"model": "topformer-t-features"},
        {"source": Source(options=(("token_stride", 32),))},
    ],
    ids=lambda change: " ".join(f"{k} {v}" for k, v in change.items()),
)
def test_every_runtime_agrees(change, spec, saved):
    everywhere = replace(spec, only_formats=("onnx", "executorch", "litert"), **change)
    source = replace(everywhere.source, checkpoint=saved(everywhere.model))
    bundle = deploy(replace(everywhere, source=source))
    for file in bundle.manifest.files:
        found = file.verification
        assert found.status == "executed"
        assert found.difference is None or found.difference <= FP32_DIFFERENCE
        assert found.agreement is None or found.agreement >= MASK_AGREEMENT
        assert (found.difference is None) == (everywhere.output == "mask")
        facts = dict(file.facts)
        if file.format == "executorch" and everywhere.reparameterize:
            most = 2 if everywhere.output == "logits" else 3
            assert facts["delegated_subgraphs"] <= most


# Two networks of three and five million weights at their own size: a minute.
@pytest.mark.full
@pytest.mark.parametrize("name", ["topformer-s", "topformer-b"])
def test_larger_variants_on_android(name, spec, saved):
    bundle = deploy(
        replace(
            spec,
            model=name,
            source=replace(spec.source, checkpoint=saved(name)),
            target="android-arm64",
            only_formats=(),
            input_size=None,
        )
    )
    files = {file.format: file for file in bundle.manifest.files}
    assert list(files) == ["executorch", "onnx", "litert"]
    assert all(file.verification.status == "executed" for file in files.values())
    assert dict(files["executorch"].facts)["delegated_subgraphs"] <= 2


def test_all_formats_of_a_host_are_verified_where_they_run(host_bundle):
    files = {file.format: file for file in host_bundle.manifest.files}
    assert list(files) == list(FORMATS)
    for name in ("onnx", "executorch", "litert"):
        assert files[name].verification.status == "executed"
        assert files[name].verification.difference <= FP32_DIFFERENCE
        assert files[name].verification.agreement >= 0.999
    assert dict(files["executorch"].facts)["delegated_subgraphs"] == 1
    assert dict(files["onnx"].facts)["opset"] == 18
    assert files["litert"].inputs[0].layout == "NHWC"
    assert files["litert"].inputs[0].shape == (1, 64, 64, 3)


# Failures: nothing is sealed, nothing is left.


def perturbed(weight, bias):
    return weight, bias + np.float32([0.1, 0, 0, 0, 0])


def constant(weight, bias):
    return 0 * weight, 0 * bias


def not_a_number(weight, bias):
    return weight, bias * np.float32("nan")


def fewer_classes(weight, bias):
    return weight[:3], bias[:3]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (perturbed, "does not compute what the network computes: difference"),
        (constant, "is the same value everywhere"),
        (not_a_number, "holds values that are not finite"),
        (fewer_classes, r"logits is \(1, 3, 8, 8\), the network's is \(1, 5, 8, 8\)"),
    ],
)
def test_a_file_that_computes_something_else_is_not_sealed(wrong, sentence, spec, exported_with):
    exported_with(wrong)
    with pytest.raises(CheckFailed, match=sentence) as caught:
        deploy(spec)
    assert caught.value.exit_code == 1
    assert list(spec.output_dir.parent.iterdir()) == []


def test_unchanged_it_is_sealed(spec, quick):
    """So that the failures above are those of the change."""
    assert deploy(spec).manifest.files[0].verification.status == "executed"


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (RuntimeError("no such operator"), LoweringFailed),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), OSError),
    ],
)
def test_an_exporter_that_fails_leaves_nothing(failure, raised, spec, monkeypatch):
    def write(model, example, names, scheme, path):
        path.write_bytes(b"half")
        raise failure

    monkeypatch.setattr(lower_module, "backend", lambda entry: SimpleNamespace(write=write))
    with pytest.raises(raised):
        deploy(replace(spec, output_dir=spec.output_dir / "deeper" / "still"))
    assert list(spec.output_dir.parent.iterdir()) == []


def test_a_failure_leaves_the_bundle_that_was_there(spec, plain, monkeypatch):
    shutil.copytree(plain.path, spec.output_dir)
    before = contents(spec.output_dir)

    def write(*_):
        raise RuntimeError("late")

    monkeypatch.setattr(lower_module, "backend", lambda entry: SimpleNamespace(write=write))
    with pytest.raises(LoweringFailed):
        deploy(replace(spec, force=True))
    assert contents(spec.output_dir) == before
    assert list(spec.output_dir.parent.iterdir()) == [spec.output_dir]
    open_bundle(spec.output_dir).check()


ONE_CLASS = "A mask of topformer-t with one class is that class everywhere"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": "topformer-q"}, "There is no model 'topformer-q'"),
        ({"target": "vax"}, "There is no target 'vax'"),
        (
            {"only_formats": ("coreml",), "target": "android-arm64"},
            "takes executorch, onnx, litert, no",
        ),
        ({"precision": "fp8"}, "There is no precision 'fp8'"),
        ({"quantize": Quantize(samples=0)}, "Calibration takes 1 to 512 samples, not 0"),
        (
            {"quantize": Quantize(observer="best")},
            "--observer takes mse, percentile, minmax",
        ),
        ({"evaluate": Evaluate(samples=0)}, "--eval-samples takes a number from 1, not 0"),
        ({"input_size": (0, 64)}, "Input size 0x64 is outside 64 to 2048"),
        ({"input_size": (64, -64)}, "Input size 64x-64 is outside"),
        ({"input_size": (64, 4096)}, "Input size 64x4096 is outside"),
        ({"input_size": (64,)}, "takes an input size of two numbers"),
        ({"input_size": (70, 64)}, "multiples of 8 pixels, not 70x64"),
        ({"model": "topformer-t-cls", "output": "mask"}, "topformer-t-cls has no mask"),
        ({"source": Source(random=True, num_classes=1), "output": "mask"}, ONE_CLASS),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(change, sentence, spec):
    with pytest.raises(UsageError) as caught:
        check_request(replace(spec, **{"source": Source(Path("nowhere.pth")), **change}))
    assert sentence in caught.value.message
    assert caught.value.exit_code == 2


def test_a_precision_that_no_file_of_the_runtime_has_is_refused(spec):
    reason = r"onnx files have no precision p4 \(palettes are Core ML's; w4 is near in size\)"
    with pytest.raises(Unsupported, match=reason) as caught:
        deploy(replace(spec, precision="p4"))
    assert caught.value.next == "--precision fp32, or --format without onnx"


def test_an_imagenet_file_is_not_exported_as_a_segmentation(spec, saved):
    path = saved("topformer-t-cls")
    with pytest.raises(CheckpointError, match="would stay random") as caught:
        deploy(replace(spec, source=replace(spec.source, checkpoint=path)))
    assert caught.value.next == f"edgevit export topformer-t-cls --weights {path}"
    assert not spec.output_dir.exists()


def test_a_mask_of_a_checkpoint_with_one_class_is_refused(spec, saved):
    """No file's mask could be wrong: nothing would be verified."""
    source = Source(checkpoint=saved("topformer-t", classes=1))
    with pytest.raises(UsageError, match=ONE_CLASS) as caught:
        deploy(replace(spec, source=source, output="mask"))
    assert (caught.value.next, caught.value.exit_code) == ("--output logits", 2)
    assert not spec.output_dir.exists()


def test_a_model_without_demo_weights_asks_for_some(spec):
    with pytest.raises(UsageError, match="no demo weights for topformer-b; give your own"):
        deploy(replace(spec, model="topformer-b", source=replace(spec.source, checkpoint=None)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\nb\n", "holds 2 names for 5 classes"),
        ("a\nb\nc\nd\na\n", "names two classes 'a'"),
        ("a\nb\n\nc\nd\n", "holds 4 names for 5 classes"),
        ("", "holds 0 names for 5 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(text, sentence, spec, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        deploy(replace(spec, source=replace(spec.source, labels=names)))
    assert not spec.output_dir.exists()


def test_labels_that_are_no_text_are_refused(spec, tmp_path):
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"names\.txt is no text"):
        deploy(replace(spec, source=replace(spec.source, labels=names)))
    with pytest.raises(UsageError, match="cannot be read"):
        deploy(replace(spec, source=replace(spec.source, labels=tmp_path / "nowhere")))


def labels_of(spec: DeploySpec) -> tuple[str, ...]:
    return load(spec, silent).labels


def test_a_file_of_labels_goes_before_the_checkpoints(spec, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text(" one\ntwo \nthree\nfour\nf\u00fcnf\n", encoding="utf-8")
    assert labels_of(replace(spec, source=replace(spec.source, labels=names))) == (
        "one",
        "two",
        "three",
        "four",
        "f\u00fcnf",
    )


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("a", "b", "c"), tuple(f"class {i}" for i in range(4))),
        (None, tuple(f"class {i}" for i in range(4))),
        (["w", "x", "y", "z"], ("w", "x", "y", "z")),
        (("bed ", "two\nlines", " c", "d"), ("bed", "two lines", "c", "d")),
    ],
)
def test_class_names_of_the_checkpoint_where_they_fit(classes, labels, spec, saved):
    source = Source(saved("topformer-t", CLASSES=classes))
    assert labels_of(replace(spec, source=source)) == labels


def test_two_classes_of_one_name_are_refused(spec, saved):
    path = saved("topformer-t", CLASSES=("a", "b", "c", "a "))
    with pytest.raises(UsageError, match="has two classes with the same name") as caught:
        labels_of(replace(spec, source=replace(spec.source, checkpoint=path)))
    assert caught.value.next.startswith("--labels")


def test_bounds_can_be_made_absolute(spec, exported_with):
    exported_with(perturbed)
    with pytest.raises(CheckFailed, match=r"absolute difference 0\.1, at most 0\.001 is"):
        deploy(replace(spec, verify=replace(spec.verify, atol=1e-3)))
    found = (
        deploy(replace(spec, verify=replace(spec.verify, atol=0.2))).manifest.files[0].verification
    )
    assert 0.09 < found.absolute < 0.11


def test_a_network_that_float32_cannot_hold_is_told_apart_from_a_wrong_file(spec):
    network = create_model("topformer-t", weights=spec.source.checkpoint, input_size=(128, 128))
    asked = preprocessing_for(replace(spec, input_size=(128, 128)), network.preparation)
    sound, _ = golden_cases(network, spec, asked)
    failed = CheckFailed("model.onnx differs.", next="report this")
    assert rounding(network, sound) < FP32_DIFFERENCE
    assert with_rounding(failed, network, sound) is failed

    # Logits beside which float32 keeps four binary digits behind the point.
    network.get_parameter("decode_head.conv_seg.bias").data.fill_(1e6)
    coarse, _ = golden_cases(network, spec, asked)
    assert rounding(network, coarse) > FP32_DIFFERENCE
    told = with_rounding(failed, network, coarse)
    assert "float64" in told.message
    assert "--atol" in told.next
