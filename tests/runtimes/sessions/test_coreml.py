"""Core ML's session against a stand-in for coremltools: the real one predicts on macOS only."""

import platform
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import DeviceFailed, RunFailed
from edgevit_runtimes.sessions.coreml import DTYPES


class Kind(SimpleNamespace):
    def WhichOneof(self, _: str) -> str:  # noqa: N802 - protobuf's spelling
        return "multiArrayType" if hasattr(self, "multiArrayType") else "imageType"


def feature(name: str, shape: list[int], number: int) -> SimpleNamespace:
    array = SimpleNamespace(shape=shape, dataType=number)
    return SimpleNamespace(name=name, type=Kind(multiArrayType=array))


class Model:
    """Doubles its input; one output per description, in another order than described."""

    inputs = (feature("x", [1, 2], 65568),)
    outputs = (feature("b", [1, 2], 65568), feature("a", [1, 2], 65552))

    def __init__(self, path: str, compute_units: str) -> None:
        if Path(path).name == "broken.mlpackage":
            raise RuntimeError("Error compiling model:\nmore lines")
        assert compute_units == "all"

    def get_spec(self) -> SimpleNamespace:
        described = SimpleNamespace(input=self.inputs, output=self.outputs)
        return SimpleNamespace(description=described)

    def predict(self, given: dict[str, Any]) -> dict[str, Any]:
        return {"a": (given["x"] * 2).astype(np.float16), "b": given["x"]}


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(
        models=SimpleNamespace(MLModel=Model), ComputeUnit=SimpleNamespace(ALL="all")
    )
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setitem(sys.modules, "coremltools", stand_in)


def package(folder: Path, name: str = "model.mlpackage") -> Path:
    path = folder / name
    path.mkdir()
    (path / "Manifest.json").write_text("{}")
    return path


def test_it_refuses_anything_but_macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    with pytest.raises(DeviceFailed, match=r"^Core ML runs on macOS only\.$") as caught:
        open_session(package(tmp_path))
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("on_a_mac")
def test_outputs_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    x = np.array([[1.0, 2.0]], np.float32)
    with open_session(package(tmp_path)) as session:
        assert [(port.name, port.dtype) for port in session.outputs] == [
            ("b", "float32"),
            ("a", "float16"),
        ]
        b, a = session.run(x)
        with pytest.raises(RunFailed, match="float32"):
            session.run(x.astype(np.float64))
    np.testing.assert_array_equal(b, x)
    np.testing.assert_array_equal(a, 2 * x)


@pytest.mark.usefixtures("on_a_mac")
def test_a_package_that_does_not_compile_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"coreml cannot open broken\.mlpackage: Error compiling"):
        open_session(package(tmp_path, "broken.mlpackage"))


@pytest.mark.usefixtures("on_a_mac")
def test_a_picture_input_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = SimpleNamespace(name="photo", type=Kind(imageType=None))
    monkeypatch.setattr(Model, "inputs", (picture,))
    with pytest.raises(RunFailed, match=r"'photo' of model\.mlpackage is no array but imageType"):
        open_session(package(tmp_path))


def test_type_numbers_are_those_of_coremltools() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # as in the session's load_runtime
        from coremltools.proto import FeatureTypes_pb2

    kinds = FeatureTypes_pb2.ArrayFeatureType
    assert DTYPES == {
        kinds.FLOAT16: "float16",
        kinds.FLOAT32: "float32",
        kinds.DOUBLE: "float64",
        kinds.INT32: "int32",
    }
