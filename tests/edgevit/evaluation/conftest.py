"""A network of three colors that needs no torch, and one small bundle for what needs one."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgevit.bundle.manifest import dump
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.parity import Verification
from edgevit.deployment.export import deploy
from edgevit.request.spec import DeploySpec
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject
from edgevit_export.artifact import content_sha256, content_size
from tests.support.once import Shared, writable

PLAIN = {"size": (8, 8), "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}
COLORS = ("red", "green", "blue")


@pytest.fixture
def subjects() -> dict[str, Subject]:
    """A subject of each task, of inputs of 8 x 8."""
    still = Preprocessing(**PLAIN)
    return {
        "classification": Subject("classification", COLORS, still),
        "segmentation": Subject("segmentation", COLORS, still),
        "video": Subject("video", COLORS, Preprocessing(**PLAIN, frames=2)),
        "pose": Subject("pose", COCO.names, Preprocessing(**PLAIN, fit="box")),
        "features": Subject("features", (), still),
    }


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Write a picture of one color."""

    def write(path: Path, color: str, size: tuple[int, int] = (8, 8)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, color).save(path)
        return path

    return write


@pytest.fixture
def colors() -> Callable[..., list[np.ndarray]]:
    """A classifier: the mean of each channel. `n` inputs at once."""
    return lambda tensor: [tensor.reshape(*tensor.shape[:2], -1).mean(axis=2)]


@pytest.fixture(scope="session")
def segmenter(shared: Shared) -> Bundle:
    """topformer-t with the demo weights, 128x128: an onnx file, and a Core ML package that says
    nothing but which nothing here opens. Read only.
    """
    if sys.platform == "darwin":
        pytest.skip("Core ML is here, and would open the package that says nothing")
    return open_bundle(shared("segmenter", write_segmenter))


def write_segmenter(root: Path) -> Path:
    folder = root / "topformer-t"
    spec = DeploySpec(
        "topformer-t", folder, only_formats=("onnx",), input_size=(128, 128), reparameterize=False
    )
    manifest = deploy(spec).manifest
    package = folder / "model.mlpackage"
    package.mkdir()
    (package / "Manifest.json").write_text("{}")
    other = replace(
        manifest.files[0],
        path=package.name,
        format="coreml",
        size=content_size(package),
        sha256=content_sha256(package),
        verification=Verification("not verified", "Core ML runs on macOS only"),
    )
    both = replace(manifest, files=(*manifest.files, other))
    (folder / MANIFEST).write_text(dump(both))
    return folder


@pytest.fixture
def segmenter_copy(segmenter: Bundle, tmp_path: Path) -> Bundle:
    """A fresh copy that a test may change."""
    place = tmp_path / "bundle"
    shutil.copytree(segmenter.path, place)
    return open_bundle(writable(place))
