"""The tiny network, and its four files, written once a run."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from edgevit_export.artifact import Artifact
from tests.support.once import Shared


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """tests/export/tiny.py as a module."""
    path = Path(__file__).with_name("tiny.py")
    spec = importlib.util.spec_from_file_location("tiny", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def written(tiny: ModuleType, shared: Shared) -> Mapping[str, Artifact]:
    """Format -> the tiny network's file, written when first asked for. Read only."""

    class Written(dict[str, Artifact]):
        def __missing__(self, name: str) -> Artifact:
            self[name] = shared(f"tiny-{name}", lambda folder: tiny.write(folder, name))
            return self[name]

    return Written()


@pytest.fixture(scope="session")
def run_python() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run Python in a process of its own with this one's import path and other variables."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                **environment,
            },
        )

    return run
