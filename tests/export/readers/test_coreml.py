import json
import os
import warnings
from collections import Counter
from pathlib import Path

import pytest

from edgevit_export.artifact import TensorSpec, content_size
from edgevit_export.errors import UnreadableFile
from edgevit_export.readers.coreml import read

MODEL = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


def test_reports_what_the_network_holds(mlpackage):
    report = read(mlpackage)
    assert report.format == "coreml"
    assert report.size == content_size(mlpackage)
    assert report.inputs == (TensorSpec("x", (1, 3, 8, 8), "float32"),)
    assert [(spec.shape, spec.dtype) for spec in report.outputs] == [((1, 4), "float32")]
    assert {op: report.ops[op] for op in ("conv", "relu", "layer_norm", "linear")} == {
        "conv": 1,
        "relu": 1,
        "layer_norm": 1,
        "linear": 1,
    }
    assert report.ops["reduce_mean"] == 1
    assert report.facts["spec version"] >= 6


def test_agrees_with_coremltools(mlpackage):
    spec = spec_of(mlpackage)
    function = spec.mlProgram.functions["main"]
    types = Counter(op.type for op in function.block_specializations[function.opset].operations)
    report = read(mlpackage)
    assert report.facts["constants"] == types.pop("const")
    assert report.facts["highest rank"] == 4
    assert report.ops == types
    assert report.facts["opset"] == function.opset
    assert report.facts["metadata com.github.apple.coremltools.version"] == "9.0"


def test_weight_bytes_are_those_in_the_weight_file(mlpackage):
    # fp16: the convolution's and the linear layer's weights; shorter constants lie in the program.
    assert read(mlpackage).weight_bytes == 2 * (8 * 3 * 3 * 3 + 4 * 8)


def test_a_picture_input_is_shown_as_height_width_channels(mlpackage, copied):
    package = copied(mlpackage)
    spec = spec_of(package)
    picture = spec.description.input[0].type.imageType
    picture.width, picture.height, picture.colorSpace = 9, 8, 20
    (package / MODEL).write_bytes(spec.SerializeToString())
    assert read(package).inputs == (TensorSpec("x", (8, 9, 3), "uint8"),)


def test_a_symbolic_link_is_refused(mlpackage, copied):
    package = copied(mlpackage)
    (package / "Data" / "link").symlink_to("/etc/passwd")
    with pytest.raises(UnreadableFile, match=r"symbolic link 'Data/link'"):
        read(package)


def test_a_pipe_is_refused_and_not_waited_for(mlpackage, copied):
    package = copied(mlpackage)
    os.mkfifo(package / "Data" / "pipe")
    with pytest.raises(UnreadableFile, match=r"special file 'Data/pipe'"):
        read(package)


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_manifest_that_leads_out_is_refused(path, mlpackage, copied):
    package = copied(mlpackage)
    manifest = json.loads((package / "Manifest.json").read_text())
    for item in manifest["itemInfoEntries"].values():
        item["path"] = path
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UnreadableFile, match="leads out of the package"):
        read(package)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it lists no items"),
        ('{"itemInfoEntries": {"a": 1}}', "an item has no path"),
        ('{"itemInfoEntries": {"a": {"path": "b"}}}', "it names no model"),
        ('{"itemInfoEntries": {"a": {"path": "b"}}, "rootModelIdentifier": "a"}', "no file in it"),
    ],
)
def test_a_broken_manifest_is_refused(text, reason, mlpackage, copied):
    package = copied(mlpackage)
    (package / "Manifest.json").write_text(text)
    with pytest.raises(UnreadableFile, match=reason):
        read(package)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("@model_path/../../../../weight.bin", "leads out of the package"),
        ("/etc/passwd", "lies outside of the package"),
        ("@model_path/weights/other.bin", "cannot be read: No such file"),
    ],
)
def test_a_weight_file_elsewhere_is_refused(name, reason, mlpackage, copied):
    package = copied(mlpackage)
    spec = spec_of(package)
    for value in blob_values(spec):
        value.blobFileValue.fileName = name
    (package / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(UnreadableFile, match=reason):
        read(package)


def test_a_wrong_weight_offset_is_refused(mlpackage, copied):
    package = copied(mlpackage)
    spec = spec_of(package)
    for value in blob_values(spec):
        value.blobFileValue.offset += 8
    (package / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(UnreadableFile, match="does not hold the weights"):
        read(package)


def test_a_cut_weight_file_is_refused(mlpackage, copied):
    package = copied(mlpackage)
    (package / WEIGHTS).write_bytes((package / WEIGHTS).read_bytes()[:-64])
    with pytest.raises(UnreadableFile, match="does not hold the weights"):
        read(package)


def test_a_model_that_is_no_program_is_refused(mlpackage, copied):
    package = copied(mlpackage)
    spec = spec_of(package)
    spec.neuralNetwork.SetInParent()
    (package / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(UnreadableFile, match="has no ML program"):
        read(package)


def test_a_file_is_no_package(tmp_path):
    path = tmp_path / "a.mlpackage"
    path.write_bytes(b"x")
    with pytest.raises(UnreadableFile, match="is not a directory"):
        read(path)


def spec_of(package: Path):
    with warnings.catch_warnings():
        # coremltools warns at import about other packages it was not tested with
        warnings.simplefilter("ignore")
        from coremltools.proto import Model_pb2
    spec = Model_pb2.Model()
    spec.ParseFromString((package / MODEL).read_bytes())
    return spec


def blob_values(spec):
    function = spec.mlProgram.functions["main"]
    for op in function.block_specializations[function.opset].operations:
        if op.attributes["val"].WhichOneof("value") == "blobFileValue":
            yield op.attributes["val"]
