"""One tiny network, exported once a run to each of the four formats."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.once import Shared, writable


class TinyNet(nn.Module):
    """Convolution, relu, layer norm, linear, mean: 276 weights; XNNPACK leaves two of the ops."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        return self.head(self.norm(x)).mean(1)


@contextmanager
def quiet() -> Iterator[None]:
    # The exporters warn at import and at call, each release about something else; what is tested
    # here is what they write.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def network() -> tuple[nn.Module, tuple[torch.Tensor]]:
    torch.manual_seed(0)
    return TinyNet().eval(), (torch.randn(1, 3, 8, 8),)


@pytest.fixture(scope="session")
def onnx_file(network, shared: Shared) -> Path:
    def make(folder: Path) -> Path:
        path = folder / "tiny.onnx"
        with quiet():
            program = torch.onnx.export(*network, dynamo=True, opset_version=18, verbose=False)
            program.save(path, external_data=False)
        return path

    return shared("readers-onnx", make)


@pytest.fixture(scope="session")
def write_pte() -> Callable[[nn.Module, tuple[torch.Tensor, ...], Path], Path]:
    def write(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> Path:
        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            edge = to_edge_transform_and_lower(
                torch.export.export(module, inputs), partitioner=[XnnpackPartitioner()]
            )
            path.write_bytes(edge.to_executorch().buffer)
        return path

    return write


@pytest.fixture(scope="session")
def pte_file(network, write_pte, shared: Shared) -> Path:
    return shared("readers-pte", lambda folder: write_pte(*network, folder / "tiny.pte"))


@pytest.fixture(scope="session")
def official_program(pte_file) -> dict[str, Any]:
    """What executorch's own deserializer says is in the .pte file."""
    with quiet():
        from executorch.exir._serialize._flatbuffer import _program_flatbuffer_to_json

        return json.loads(_program_flatbuffer_to_json(pte_file.read_bytes()))


@pytest.fixture(scope="session")
def tflite_file(network, shared: Shared) -> Path:
    def make(folder: Path) -> Path:
        path = folder / "tiny.tflite"
        with quiet():
            import litert_torch

            litert_torch.convert(*network).export(str(path))
        return path

    return shared("readers-tflite", make)


@pytest.fixture(scope="session")
def mlpackage(network, shared: Shared) -> Path:
    def make(folder: Path) -> Path:
        path = folder / "tiny.mlpackage"
        with quiet():
            import coremltools

            program = torch.export.export(*network).run_decompositions({})
            coremltools.convert(program, convert_to="mlprogram").save(str(path))
        return path

    return shared("readers-coreml", make)


@pytest.fixture
def copied(tmp_path) -> Callable[[Path], Path]:
    """A copy of a package that a test may break."""

    def copy(package: Path) -> Path:
        return writable(Path(shutil.copytree(package, tmp_path / package.name)))

    return copy
