"""One export cache shared by the run: bundles are made once and copied by whoever wants to harm
them.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevit.bundle import Bundle, open_bundle
from edgevit.deployment import deploy
from edgevit.spec import DeploySpec

TINY = (64, 64)


@pytest.fixture(scope="session")
def host_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """topformer-t with the demo weights in all four formats at 64x64. Read only: copy before
    changing it.
    """
    folder = tmp_path_factory.mktemp("exports") / "topformer-t"
    return deploy(DeploySpec("topformer-t", folder, target="host", input_size=TINY))


@pytest.fixture
def bundle_copy(host_bundle: Bundle, tmp_path: Path) -> Callable[[], Bundle]:
    """A fresh copy of the bundle that a test may harm."""

    def copy() -> Bundle:
        place = tmp_path / "bundle"
        shutil.copytree(host_bundle.path, place)
        return open_bundle(place)

    return copy
