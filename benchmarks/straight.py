"""STRAIGHT: a network to a file by each exporter's shortest documented way, and no more."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from edgevit_export.quiet import quiet


def straight_onnx(network: nn.Module, example: Tensor, path: Path) -> None:
    """torch's own exporter."""
    program = torch.onnx.export(network, (example,), dynamo=True)
    assert program is not None
    program.save(path)


def straight_executorch(network: nn.Module, example: Tensor, path: Path) -> None:
    """ExecuTorch's documented XNNPACK recipe."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(network, (example,))
    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    path.write_bytes(edge.to_executorch().buffer)


def straight_litert(network: nn.Module, example: Tensor, path: Path) -> None:
    """litert_torch's documented recipe; channels first, as the network has them."""
    import litert_torch

    litert_torch.convert(network, (example,)).export(str(path))


# The formats that Linux runs.
STRAIGHT: Mapping[str, Callable[[nn.Module, Tensor, Path], None]] = MappingProxyType(
    {
        "onnx": straight_onnx,
        "executorch": straight_executorch,
        "litert": straight_litert,
    }
)


def export_straight(name: str, network: nn.Module, example: Tensor, path: Path) -> None:
    """Write an eval-mode network to `path`; raises what the exporter raises."""
    with quiet(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporters' own deprecations
        STRAIGHT[name](network, example, path)
