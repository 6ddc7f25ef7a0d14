"""Half precision in a .pte program: a network in float16 between float32 borders, and what
XNNPACK takes of it.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgevit_export.quantization.layers import check_half


class Halved(nn.Module):
    """A copy of a network whose numbers are float16, with inputs and outputs as they were.

    The modules of the paths `kept`, and what is inside of them, are computed in float32; between
    the two kinds lie steps outside of the delegate. Raises `Unsupported` on a weight beyond float16
    elsewhere.
    """

    def __init__(self, network: nn.Module, kept: frozenset[str]) -> None:
        super().__init__()
        check_half(network, kept)
        self.network = deepcopy(network).half()
        for path in sorted(kept):
            if path and path.rpartition(".")[0] not in kept:  # of an island, its outermost
                island = self.network.get_submodule(path).float()
                island.register_forward_pre_hook(lambda _, given: _cast(given, torch.float32))
                island.register_forward_hook(lambda _, given, out: _cast(out, torch.float16))
        self.eval()

    def forward(self, *inputs: Tensor) -> Any:
        """float32 in, float32 out."""
        return _cast(self.network(*_cast(inputs, torch.float16)), torch.float32)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    return pytree.tree_map_only(
        Tensor, lambda one: one.to(dtype) if one.is_floating_point() else one, values
    )


def partitioner() -> Any:
    """XNNPACK's partitioner, which also takes GELU in float16.

    executorch 1.5.1 leaves it outside ("XNNPACK does not support GELU for fp16", generic_node_
    configs.py), and its XNNPACK has the kernel: run on x86, and on an emulated A77 and A72.
    """
    from executorch.backends.xnnpack.partition.config import ALL_PARTITIONER_CONFIGS, GeluConfig
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    class Gelu(GeluConfig):  # type: ignore[misc]  # executorch is untyped
        def check_constraints(self, node: Any, ep: Any) -> bool:
            return bool(self.check_common_constraints(node, ep))

    configs = [Gelu if config is GeluConfig else config for config in ALL_PARTITIONER_CONFIGS]
    return XnnpackPartitioner(configs=configs)
