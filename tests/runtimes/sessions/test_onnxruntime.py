import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgevit_runtimes import engines
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed


def one_identity(path: Path, element: int, shape: list[int | str]) -> Path:
    import onnx
    from onnx import helper

    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", element, shape)],
        [helper.make_tensor_value_info("y", element, shape)],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def test_an_open_size_is_refused(tmp_path: Path) -> None:
    path = one_identity(tmp_path / "open.onnx", 1, ["batch", 3])
    with pytest.raises(RunFailed, match=r"'x' of open\.onnx has a dynamic size"):
        open_session(path)


def test_a_type_without_a_numpy_name_is_refused(tmp_path: Path) -> None:
    bfloat16 = 16
    path = one_identity(tmp_path / "brain.onnx", bfloat16, [1, 3])
    with pytest.raises(RunFailed, match="element type that numpy cannot hold"):
        open_session(path)


@pytest.mark.parametrize(("element", "dtype"), [(7, "int64"), (2, "uint8"), (10, "float16")])
def test_types_keep_their_names(tmp_path: Path, element: int, dtype: str) -> None:
    with open_session(one_identity(tmp_path / "typed.onnx", element, [2])) as session:
        assert session.inputs[0].dtype == dtype
        assert session.outputs[0].name == "y"


def test_telemetry_is_off_before_the_import(tiny: Any) -> None:
    code = (
        f"import sys; sys.path.append({str(Path(engines.__file__).parents[1])!r})\n"
        "import os, pathlib\n"
        "from edgevit_runtimes.engines import open_session\n"
        f"open_session(pathlib.Path({str(tiny.files['onnxruntime'])!r}))\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
