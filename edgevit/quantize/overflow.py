"""Activations that 16-bit floats cannot hold, found before a file is written."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from edgevit.difference import Array

if TYPE_CHECKING:
    from torch import nn

LARGEST = 65504.0  # the largest finite float16 (IEEE 754 binary16)


def beyond_half(network: "nn.Module", inputs: Iterable[Array]) -> dict[str, float]:
    """Module path -> the largest absolute value it returned, where that is beyond float16.

    inputs: float32 network inputs. Modules that ask for float32 (`keeps_fp32`) are left out. What
    operations between modules reach is not seen.
    """
    import torch

    from edgevit_export.scheme import KEEPS_FP32

    kept = [name for name, module in network.named_modules() if getattr(module, KEEPS_FP32, False)]
    beyond: dict[str, float] = {}

    def watch(path: str) -> Any:
        def hook(_: object, __: object, output: object) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point() and output.numel():
                largest = float(output.abs().max())
                if not largest <= LARGEST:
                    beyond[path] = max(largest, beyond.get(path, 0.0))

        return hook

    handles = [
        module.register_forward_hook(watch(path))
        for path, module in network.named_modules()
        if not list(module.children())
        and not any(path == name or path.startswith(f"{name}.") for name in kept)
    ]
    try:
        with torch.no_grad():
            for array in inputs:
                network(torch.from_numpy(array))
    finally:
        for handle in handles:
            handle.remove()
    return beyond
