"""One export cache shared by the run: bundles are made once and copied by whoever wants to harm
them.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import functools
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.deployment.export import deploy
from edgevit.request.spec import DeploySpec
from edgevit_runtimes import setup

TINY = (64, 64)


@pytest.fixture(scope="session")
def host_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """topformer-t with the demo weights in all four formats at 64x64. Read only: copy before
    changing it.
    """
    folder = tmp_path_factory.mktemp("exports") / "topformer-t"
    return deploy(DeploySpec("topformer-t", folder, target="host", input_size=TINY))


@pytest.fixture(scope="session")
def micro_bundle(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A micro network in all four formats at its own size, made once a run when first asked for.
    Read only.
    """
    folder = tmp_path_factory.mktemp("micro")

    @functools.cache
    def made(name: str) -> Bundle:
        return deploy(DeploySpec(name, folder / name, target="host"))

    return made


@pytest.fixture
def bundle_copy(host_bundle: Bundle, tmp_path: Path) -> Callable[[], Bundle]:
    """A fresh copy of the bundle that a test may harm."""

    def copy() -> Bundle:
        place = tmp_path / "bundle"
        shutil.copytree(host_bundle.path, place)
        return open_bundle(place)

    return copy


@pytest.fixture
def classic_runtime() -> None:
    """Skips where the classic tflite-runtime's side environment is not there."""
    if setup.find_tflite() is None:
        pytest.skip(f"tflite-runtime {setup.VERSION} is not set up here: {setup.COMMAND}")


# The names of tflite-runtime with nothing behind them: `load`, `invoke` and `result` are a test's.
PRETENDER = """
import os, signal, sys, time
import numpy as np

class Interpreter:
    def __init__(self, path, num_threads):
        self.path, self.num_threads, self.given = path, num_threads, {{}}
        {load}
    def allocate_tensors(self): pass
    def get_signature_list(self): return {{}}
    def get_input_details(self): return [detail("x", 0, {shape}, np.float32)]
    def get_output_details(self): return [detail("y", 1, {shape}, {dtype})]
    def set_tensor(self, index, array): self.given[index] = array
    def get_tensor(self, index):
        x = self.given[0]
        return {result}
    def invoke(self):
        {invoke}

def detail(name, index, shape, dtype):
    return dict(name=name, index=index, shape=np.abs(shape), shape_signature=shape, dtype=dtype)
"""
VERSIONS = """
import numpy
numpy.__version__ = {numpy!r}
__version__ = {version!r}
"""


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Puts an environment in place whose tflite-runtime is a few lines of Python."""

    def pretend(
        load: str = "pass",
        invoke: str = "pass",
        result: str = "x * 2",
        shape: str = "[1, 3, 8, 6]",
        dtype: str = "np.float32",
        version: str = setup.VERSION,
    ) -> Path:
        place = tmp_path / "pretended"
        packages = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        runtime = packages / "site-packages" / "tflite_runtime"
        runtime.mkdir(parents=True)
        (runtime.parent / "numpy.pth").write_text(sysconfig.get_path("purelib"))
        numpy = dict(setup.PACKAGES)["numpy"]
        (runtime / "__init__.py").write_text(VERSIONS.format(numpy=numpy, version=version))
        (runtime / "interpreter.py").write_text(
            PRETENDER.format(load=load, invoke=invoke, result=result, shape=shape, dtype=dtype)
        )
        base = Path(sys.executable).resolve()
        (place / "bin").mkdir()
        (place / "bin" / "python").symlink_to(base)
        (place / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        (place / setup.MARKER).write_text(json.dumps({"packages": dict(setup.PACKAGES)}))
        monkeypatch.setenv(setup.HOME, str(place))
        return place

    return pretend
