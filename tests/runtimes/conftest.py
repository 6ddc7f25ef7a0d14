"""One tiny network, written once a run for each runtime, with torch's answer beside it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgevit_runtimes.session import Array
from tests.support.once import Shared


class Tiny(nn.Module):
    """Maps and a pooled vector of a picture: two outputs of different ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.conv(x))
        return self.head(y), y.mean((2, 3))


class Dozen(nn.Module):
    """Twelve outputs of distinct sizes, of two inputs: more than names sort well."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(x[:, : i + 1] * (i + 1) + y for i in range(12))


Parts = tuple[dict[str, Path], tuple[Array, ...], tuple[Array, ...]]


@dataclass(frozen=True, slots=True)
class Written:
    """A file of each engine, the inputs to give it, and what torch returns for them."""

    files: dict[str, Path]
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]


@pytest.fixture(scope="session")
def tiny(shared: Shared) -> Written:
    return Written(*shared("runtimes-tiny", write_tiny))


def write_tiny(folder: Path) -> Parts:
    torch.manual_seed(0)
    network, x = Tiny().eval(), torch.randn(1, 3, 8, 6)
    with torch.no_grad():
        expected = tuple(y.numpy() for y in network(x))
    files = {
        "onnxruntime": folder / "tiny.onnx",
        "executorch": folder / "tiny.pte",
        "litert": folder / "tiny.tflite",
    }
    write_onnx(network, files["onnxruntime"])
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # the exporters' own; what runs the files is under test here
        write_executorch(network, x, files["executorch"])
        write_litert(network, (x,), files["litert"])
    return files, (x.numpy(),), expected


@pytest.fixture(scope="session")
def dozen(shared: Shared) -> Written:
    return Written(*shared("runtimes-dozen", write_dozen))


def write_dozen(folder: Path) -> Parts:
    path = folder / "dozen.tflite"
    network, inputs = Dozen().eval(), (torch.randn(1, 12), torch.randn(1, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        write_litert(network, inputs, path)
    expected = tuple(y.numpy() for y in network(*inputs))
    return {"litert": path}, tuple(x.numpy() for x in inputs), expected


def write_onnx(network: Tiny, path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: value.detach().numpy() for name, value in network.named_parameters()}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("Conv", ["r", "head.weight", "head.bias"], ["maps"]),
            helper.make_node("ReduceMean", ["r", "axes"], ["pooled"], keepdims=0),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 6])],
        [
            helper.make_tensor_value_info("maps", TensorProto.FLOAT, [1, 2, 8, 6]),
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [1, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()]
        + [numpy_helper.from_array(np.array([2, 3]), "axes")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def write_executorch(network: nn.Module, x: torch.Tensor, path: Path) -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network, (x,))
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(lowered.to_executorch().buffer)


def write_litert(network: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    import litert_torch

    litert_torch.convert(network, inputs).export(str(path))


@pytest.fixture
def broken(tiny: Written, tmp_path: Path) -> Callable[[str, Callable[[bytes], bytes]], Path]:
    """Write a changed copy of an engine's tiny file."""

    def write(engine: str, change: Callable[[bytes], bytes]) -> Path:
        good = tiny.files[engine]
        path = tmp_path / f"broken{good.suffix}"
        path.write_bytes(change(good.read_bytes()))
        return path

    return write
