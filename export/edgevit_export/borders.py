"""The inputs and outputs of a file, as its network defines them."""

from typing import TYPE_CHECKING

from edgevit_export.artifact import Layout, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


def outputs_of(model: "nn.Module", example: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
    """One forward's outputs, a single tensor as a tuple of one."""
    import torch

    with torch.no_grad():
        outputs = model(*example)
    return outputs if isinstance(outputs, tuple) else (outputs,)


def describe(
    names: tuple[str, ...],
    tensors: "tuple[Tensor, ...]",
    pictures: Layout = "NCHW",
    dtype: str | None = None,
) -> tuple[TensorSpec, ...]:
    """Names, shapes and dtypes; tensors of rank 4 (NCHW) as a file of this layout has them."""
    specs = []
    for name, value in zip(names, tensors, strict=True):
        shape = tuple(value.shape)
        layout: Layout = pictures if len(shape) == 4 else "any"
        if layout == "NHWC":
            shape = (shape[0], *shape[2:], shape[1])
        kind = dtype or str(value.dtype).removeprefix("torch.")
        specs.append(TensorSpec(name, shape, kind, layout))
    return tuple(specs)
