import os

import pytest
from onnx import TensorProto, helper

from edgevit.bundle.inspect import inspect_file
from edgevit.errors import EnvironmentFailed, UsageError
from edgevit_export.errors import UnreadableFile


@pytest.fixture
def onnx_file(tmp_path):
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def test_the_suffix_chooses_the_reader(onnx_file):
    report = inspect_file(onnx_file)
    assert report.format == "onnx"
    assert report.ops == {"Relu": 1}


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="There is no file") as caught:
        inspect_file(tmp_path / "no.onnx")
    assert caught.value.next == f"ls {tmp_path}"


def test_a_file_without_permission_is_told(onnx_file, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may read all
    with pytest.raises(EnvironmentFailed, match="cannot be read"):
        inspect_file(onnx_file)


@pytest.mark.parametrize(
    ("name", "raw", "held"),
    [
        ("a.onnx", b"\0\0\0\0TFL3" + b"\0" * 32, "litert"),
        ("a.onnx", b"\0\0\0\0ET12" + b"\0" * 32, "executorch"),
        ("a.tflite", b"\0\0\0\0ET12" + b"\0" * 32, "executorch"),
        ("a.pte", b"\x08\x0a\x12\x07pytorch", "onnx"),
        ("a.mlpackage", b"\0\0\0\0TFL3" + b"\0" * 32, "litert"),
    ],
)
def test_a_suffix_that_lies_is_told(name, raw, held, tmp_path):
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(UsageError, match=f"but contains {held}") as caught:
        inspect_file(path)
    assert caught.value.next.startswith("mv -n ")


def test_a_package_under_another_name_is_told(tmp_path):
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    (folder / "Manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="but contains coreml"):
        inspect_file(folder)


def test_an_unknown_suffix_is_told(tmp_path, onnx_file):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(UsageError, match=r"one of \.onnx, \.pte, \.tflite, \.mlpackage"):
        inspect_file(path)
    renamed = onnx_file.rename(tmp_path / "model.bin")
    with pytest.raises(UsageError, match=r"does not end in \.onnx") as caught:
        inspect_file(renamed)
    assert caught.value.next == f"mv -n {renamed} {tmp_path / 'model.onnx'}"


def test_a_broken_file_is_the_workshops_error(tmp_path):
    path = tmp_path / "a.pte"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(UnreadableFile):
        inspect_file(path)
