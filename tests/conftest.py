"""One export cache shared by the run: bundles are made once and copied by whoever wants to harm
them.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Before torch is loaded. The networks under test are small: a second thread costs more than it
# gives, and one that spins while it waits takes the core from the other worker.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import functools
import hashlib
import json
import shutil
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.deployment.export import deploy
from edgevit.request.spec import DeploySpec
from edgevit_runtimes.setup import emulated
from edgevit_runtimes.setup import tflite as setup
from edgevit_runtimes.setup.kept import MARKER
from tests.support.native import need
from tests.support.once import Shared, root_of_run, writable

pytest_plugins = ("tests.support.plugin",)

TINY = (64, 64)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """What all workers of this run make once and read."""
    worker = hasattr(request.config, "workerinput")
    return Shared(root_of_run(tmp_path_factory.getbasetemp(), worker=worker))


@pytest.fixture(scope="session")
def exported(shared: Shared) -> Callable[..., Bundle]:
    """The bundle of a model and DeploySpec's other words, made once a run. Read only: copy before
    changing it.
    """

    @functools.cache
    def made(model: str, **words: object) -> Bundle:
        spec = DeploySpec(model, Path(model), **words)  # type: ignore[arg-type]
        name = f"{model}-{hashlib.sha256(repr(spec).encode()).hexdigest()[:12]}"

        def make(folder: Path) -> Path:
            return deploy(replace(spec, output_dir=folder / model)).path

        return open_bundle(shared(name, make))

    return made


@pytest.fixture(scope="session")
def host_bundle(exported: Callable[..., Bundle]) -> Bundle:
    """topformer-t with the demo weights in all four formats at 64x64. Read only."""
    return exported("topformer-t", target="host", input_size=TINY)


@pytest.fixture(scope="session")
def micro_bundle(exported: Callable[..., Bundle]) -> Callable[[str], Bundle]:
    """A micro network in all four formats at its own size. Read only."""
    return functools.partial(exported, target="host")


@pytest.fixture
def bundle_copy(host_bundle: Bundle, tmp_path: Path) -> Callable[[], Bundle]:
    """A fresh copy of the bundle that a test may harm."""

    def copy() -> Bundle:
        place = tmp_path / "bundle"
        shutil.copytree(host_bundle.path, place)
        return open_bundle(writable(place))

    return copy


@pytest.fixture(scope="session")
def emulated_device() -> None:
    """Skips where emulated devices are not set up; where CI runs, they are."""
    need("qemu-aarch64")
    if emulated.find_emulated() is None:
        missing = f"emulated devices are not set up here: {emulated.COMMAND}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


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
        (place / MARKER).write_text(json.dumps({"packages": dict(setup.PACKAGES)}))
        monkeypatch.setenv(setup.HOME, str(place))
        return place

    return pretend
