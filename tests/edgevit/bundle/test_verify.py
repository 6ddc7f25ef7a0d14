"""verify: hashes first, then every file on the golden input."""

from dataclasses import replace

import numpy as np
import pytest

from edgevit.bundle.manifest import Member, dump
from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.bundle.verify import verify_bundle
from edgevit.errors import CheckFailed, UsageError
from edgevit_export.artifact import content_sha256
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime


def test_every_file_is_run_again(host_bundle):
    found = verify_bundle(host_bundle)
    assert list(found) == [file.path for file in host_bundle.manifest.files]
    for file in host_bundle.manifest.files:
        again, sealed = found[file.path], file.verification
        assert again.status == sealed.status
        if again.status == "executed":
            assert again.cases == 1
            assert again.difference <= sealed.difference, "one of the cases that were compared"
            assert again.runtime == sealed.runtime
        else:
            assert again.reason == sealed.reason == "Core ML runs on macOS only"


def test_only_the_formats_asked_for(host_bundle):
    assert list(verify_bundle(host_bundle, ("onnx",))) == ["model.onnx"]
    assert list(verify_bundle(host_bundle, ("tflite", "onnx"))) == ["model.tflite", "model.onnx"]
    with pytest.raises(UsageError, match="The bundle has no ncnn file; it has onnx, exec"):
        verify_bundle(host_bundle, ("ncnn",))


@pytest.mark.usefixtures("classic_runtime")
def test_the_classic_runtime_where_it_is_asked_for(host_bundle):
    found = verify_bundle(host_bundle, engine="tflite")
    assert list(found) == ["model.tflite"]
    assert dict(found["model.tflite"].runtime)["tflite-runtime"] == "2.14.0"


def test_a_runtime_that_fails_where_it_is_asked_for_is_a_failure(host_bundle, pretended):
    shape = str(list(host_bundle.entry("litert").inputs[0].shape))
    pretended(shape=shape, load="os.abort()")
    with pytest.raises(DeviceFailed, match=r"ended \(SIGABRT\) on model\.tflite"):
        verify_bundle(host_bundle, engine="tflite")


def test_a_runtime_that_is_not_there_is_told(host_bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEVIT_TFLITE_HOME", str(tmp_path / "absent"))
    with pytest.raises(MissingRuntime, match="which is not set up"):
        verify_bundle(host_bundle, engine="tflite")


def test_bounds_are_the_callers_where_given(host_bundle):
    with pytest.raises(CheckFailed, match="absolute difference"):
        verify_bundle(host_bundle, ("onnx",), atol=0.0)
    assert verify_bundle(host_bundle, ("onnx",), atol=1e-2)["model.onnx"].status == "executed"


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.mlpackage/Manifest.json", "golden/input.npy", "labels.txt"]
)
def test_a_changed_byte_is_found_whatever_is_asked_for(name, bundle_copy):
    bundle = bundle_copy()
    path = bundle.path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckFailed, match="is not the file that was sealed: its hash differs"):
        verify_bundle(bundle, ("executorch",))


def resealed(bundle: Bundle, name: str, array) -> Bundle:
    """Somebody who can write hashes puts other golden data in."""
    path = bundle.path / "golden" / f"{name}.npy"
    np.save(path, array)
    members = tuple(
        Member(m.path, path.stat().st_size, content_sha256(path))
        if m.path == f"golden/{name}.npy"
        else m
        for m in bundle.manifest.members
    )
    (bundle.path / "manifest.json").write_text(dump(replace(bundle.manifest, members=members)))
    return open_bundle(bundle.path)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("logits", lambda a: a + np.float32(1), "does not compute what the network computes"),
        ("logits", lambda a: a[:, :3], "the network's is"),
        ("logits", lambda a: a * np.float32("nan"), "does not compute"),
        ("input", lambda a: a * 0, "does not compute"),
    ],
)
def test_other_golden_data_is_a_failure(name, change, sentence, bundle_copy):
    bundle = bundle_copy()
    bundle = resealed(bundle, name, change(bundle.golden(name)))
    with pytest.raises(CheckFailed, match=sentence):
        verify_bundle(bundle, ("onnx",))


def sealed_with(bundle: Bundle, **measured) -> Bundle:
    """The bundle with its ONNX file as a quantized one of which this was measured."""
    file = bundle.entry("onnx")
    claimed = replace(file, precision="w8a8", verification=replace(file.verification, **measured))
    files = tuple(claimed if one == file else one for one in bundle.manifest.files)
    (bundle.path / "manifest.json").write_text(dump(replace(bundle.manifest, files=files)))
    return open_bundle(bundle.path)


def test_a_quantized_file_computes_here_what_it_did_where_it_was_sealed(bundle_copy):
    """fp32's own file is far within every bound of w8a8: only what was sealed tells."""
    bundle = bundle_copy()
    found = verify_bundle(bundle, ("onnx",))["model.onnx"]
    near = sealed_with(bundle, sqnr=found.sqnr + 5.9, agreement=found.agreement)
    assert verify_bundle(near, ("onnx",))["model.onnx"].status == "executed"
    far = sealed_with(bundle, sqnr=found.sqnr + 6.1)
    with pytest.raises(CheckFailed, match="something else here than when it was sealed: SQNR"):
        verify_bundle(far, ("onnx",))
    assert verify_bundle(far, ("onnx",), min_cosine=0.95)["model.onnx"].status == "executed"


def test_halves_are_held_to_halves(bundle_copy):
    """What float32 lost where it was sealed tells nothing of halves, nor the other way."""
    bundle = bundle_copy()
    found = verify_bundle(bundle, ("onnx",))["model.onnx"]
    other = sealed_with(bundle, sqnr=found.sqnr + 20, floats="float16")
    assert verify_bundle(other, ("onnx",))["model.onnx"].status == "executed"


def test_a_bundle_of_before_has_no_bound_that_is_not_measured(bundle_copy):
    """Label maps had 200 dB, and quantized maps no agreement."""
    old = sealed_with(bundle_copy(), sqnr=None, agreement=None)
    assert verify_bundle(old, ("onnx",))["model.onnx"].agreement == 1
