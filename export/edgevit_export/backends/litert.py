"""LiteRT: a .tflite file with channels last at its borders, as its users' pictures come."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from edgevit_export.artifact import Artifact, TensorSpec, content_sha256
from edgevit_export.errors import LoweringFailed
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.names import Names
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme


def write(
    model: nn.Module, example: tuple[Tensor, ...], names: Names, scheme: Scheme, path: Path
) -> Artifact:
    """Write a .tflite file; raises `LoweringFailed`. 4-D inputs and outputs are NHWC in it."""
    if model.training:
        raise LoweringFailed("The network is in training mode; call .eval() before exporting it.")
    with torch.no_grad():
        outputs = model(*example)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    pictures = [i for i, value in enumerate(example) if value.ndim == 4]
    maps = [i for i, value in enumerate(outputs) if value.ndim == 4]
    last = tuple(
        value.permute(0, 2, 3, 1).contiguous() if i in pictures else value
        for i, value in enumerate(example)
    )
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jax's and litert_torch's own deprecations
        import litert_torch

        wrapped = litert_torch.to_channel_last_io(model, args=pictures, outputs=maps)
        # Into memory first: on a full disk the converter's own writer ends the whole process.
        content = litert_torch.convert(wrapped.eval(), last).model_content()
    path.write_bytes(content)
    return Artifact(
        format="litert",
        path=path,
        precision=scheme.precision,
        size=path.stat().st_size,
        sha256=content_sha256(path),
        inputs=_specs(names.inputs, example),
        outputs=_specs(names.outputs, outputs),
        tools=tool_versions(FORMATS["litert"]),
    )


def _specs(names: tuple[str, ...], tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    specs = []
    for name, value in zip(names, tensors, strict=True):
        shape = tuple(value.shape)
        if value.ndim == 4:
            shape = (shape[0], shape[2], shape[3], shape[1])
        dtype = str(value.dtype).removeprefix("torch.")
        specs.append(TensorSpec(name, shape, dtype, "NHWC" if value.ndim == 4 else "any"))
    return tuple(specs)
