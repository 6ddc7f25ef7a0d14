"""What halves do to a network, on a machine that does not compute them.

Every result is rounded to float16 and sums are exact; an ARM core also adds up in halves, which
loses about 6 dB more (62 and 55 dB of topformer-t, measured on an emulated cortex-a77). What
overflows there does here.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from edgevit.evaluation.subject import Run, network_run
from edgevit.tasks.pixels.resize import FloatArray

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

LAYER_NORM = torch.ops.aten.native_layer_norm.default


class InHalves(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Rounds the result of every operation to float16."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        if func is LAYER_NORM:
            return layer_norm(*args)
        result = func(*args, **(kwargs or {}))
        views = any(value.alias_info is not None for value in func._schema.returns)
        return result if views else pytree.tree_map_only(Tensor, rounded, result)


def rounded(value: Tensor) -> Tensor:
    """A tensor with the numbers that float16 has; integers as they are."""
    return value.half().to(value.dtype) if value.is_floating_point() else value


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """In the steps that delegates compute it in: the squares may end beyond float16."""
    dims = tuple(range(-len(shape), 0))
    mean = rounded(x.mean(dims, keepdim=True))
    apart = rounded(x - mean)
    variance = rounded(rounded(apart * apart).mean(dims, keepdim=True))
    inverse = rounded(torch.rsqrt(rounded(variance + eps)))
    out = rounded(apart * inverse)
    if weight is not None:
        out = rounded(out * weight)
    return (out if bias is None else rounded(out + bias)), mean, inverse


@torch.no_grad()
def half_run(network: "Network") -> Run:
    """A network in eval mode as a `Run` in halves: weights, inputs and results."""
    narrow = deepcopy(network)
    for value in (*narrow.parameters(), *narrow.buffers()):
        value.copy_(rounded(value))
    run = network_run(narrow)

    def halved(tensor: FloatArray) -> Sequence[Any]:
        with InHalves():  # type: ignore[no-untyped-call]  # torch leaves it untyped
            return run(rounded(torch.from_numpy(tensor)).numpy())

    return halved
