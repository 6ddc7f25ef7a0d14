import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from edgevit_runtimes import engines
from edgevit_runtimes.device import usable_cores
from edgevit_runtimes.engines import (
    ENGINES,
    chosen,
    engine_named,
    engine_of,
    open_prepared,
    open_session,
    versions,
)
from edgevit_runtimes.errors import BadSetting, MissingRuntime, RunFailed, UnknownEngine

HEAVY = (
    "torch", "onnx", "onnxruntime", "executorch", "ai_edge_litert", "litert_torch", "coremltools",
    "safetensors",
)  # fmt: skip

IMPORT_ALL = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Blocked())
import edgevit_runtimes
names = [m.name for m in pkgutil.walk_packages(edgevit_runtimes.__path__, "edgevit_runtimes.")]
for name in names:
    importlib.import_module(name)
ours = ("edgevit", "edgevit_export")
print(len(names), sorted(n for n in sys.modules if n.partition(".")[0] in ours))
"""


def test_every_module_imports_without_a_runtime() -> None:
    root = Path(engines.__file__).parents[1]
    code = f"import sys; sys.path.append({str(root)!r})" + IMPORT_ALL.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    count, _, ours = done.stdout.partition(" ")
    assert int(count) >= 17
    assert ours.strip() == "[]"


@pytest.mark.parametrize("name", ENGINES)
def test_a_suffix_names_its_engine(name: str) -> None:
    engine = ENGINES[name]
    assert engine.name == name
    for suffix in engine.suffixes:
        path = Path(f"model{suffix}")
        first = next(each for each in ENGINES.values() if suffix in each.suffixes)
        assert engine_of(path) is chosen(path, None) is first
        assert chosen(path, name) is engine
    for alias in (name, *engine.aliases):
        assert engine_named(alias) is engine
    if engine.extra is None:
        assert engine.install == f"edgevit device setup {name}"
    else:
        assert engine.install == f"pip install 'edgevit[{engine.extra}]'"


def test_unknown_names_list_what_exists() -> None:
    with pytest.raises(UnknownEngine, match=r"onnxruntime, executorch, litert, coreml, tflite\."):
        engine_named("tensorrt")
    with pytest.raises(UnknownEngine, match=r"\(\.onnx, \.pte, \.tflite, \.mlpackage\)"):
        engine_of(Path("model.engine"))
    with pytest.raises(UnknownEngine, match="opened by onnxruntime, not by litert"):
        open_session(Path("model.onnx"), engine="litert")


def test_versions_are_those_installed() -> None:
    assert set(versions("executorch")) == {"executorch", "torch"}
    assert versions(ENGINES["onnxruntime"])["onnxruntime"][0].isdigit()


def test_a_package_that_is_not_installed_gives_the_install_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(engines, "version", absent)
    with pytest.raises(MissingRuntime, match="needs ai-edge-litert") as caught:
        versions("litert")
    assert caught.value.next == "pip install 'edgevit[litert]'"
    assert caught.value.exit_code == 3

    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what an import of it meets
    with pytest.raises(MissingRuntime, match="needs onnxruntime, which is not installed"):
        open_session(tmp_path / "model.onnx")


def test_a_package_that_does_not_load_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingRuntime, match="installed but cannot be imported"):
        open_session(tmp_path / "model.onnx")


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="There is no file"):
        open_session(tmp_path / "absent.onnx")
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(RunFailed, match="is empty"):
        open_session(tmp_path / "empty.onnx")
    with (tmp_path / "huge.onnx").open("wb") as stream:
        stream.truncate((2 << 30) + 1)  # sparse: takes no space
    with pytest.raises(RunFailed, match="no runtime opens more"):
        open_session(tmp_path / "huge.onnx")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "folder.onnx" / "link").symlink_to(tmp_path / "huge.onnx")
    with pytest.raises(RunFailed, match="symbolic link"):
        open_session(tmp_path / "folder.onnx")


def test_a_directory_is_no_onnx_file(tmp_path: Path) -> None:
    folder = tmp_path / "model.onnx"
    folder.mkdir()
    (folder / "weights").write_bytes(np.zeros(8).tobytes())
    with pytest.raises(RunFailed, match=r"model\.onnx"):
        open_session(folder)


@pytest.mark.parametrize("threads", [-1, 0, 1_000_000])
def test_threads_that_this_machine_does_not_run_are_refused(threads: int, tmp_path: Path) -> None:
    most = usable_cores()
    with pytest.raises(BadSetting) as caught:
        open_session(tmp_path / "model.onnx", threads=threads)
    assert str(caught.value) == f"This machine runs 1 to {most} threads at once, not {threads}."
    assert caught.value.next == f"--threads {1 if threads < 1 else most}"
    with pytest.raises(BadSetting, match="threads at once"):
        open_prepared(tmp_path / "model.onnx", ENGINES["onnxruntime"], threads)
