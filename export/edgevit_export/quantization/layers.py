"""Which layers a precision applies to, and how their weights are found again in a written file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from edgevit_export.errors import BadCalibration, Unsupported
from edgevit_export.quantization.paths import kept_float, layers_run
from edgevit_export.scheme import KEEPS_FP32, Scheme

HALF_LARGEST = 65504.0  # the largest finite float16
KINDS = ("Linear", "Conv2d", "ConvTranspose2d")


@dataclass(frozen=True, slots=True)
class Layers:
    """Module paths of a network's linear and convolution layers, in the order of the graph."""

    chosen: tuple[str, ...]
    floats: tuple[str, ...]

    @property
    def facts(self) -> Mapping[str, int]:
        """What an artifact says of them."""
        return counted(len(self.chosen), len(self.floats))


def counted(quantized: int, floats: int) -> dict[str, int]:
    """The two facts every quantized artifact has."""
    return {"quantized_layers": quantized, "float_layers": floats}


def layers_of(
    model: nn.Module,
    example: tuple[Tensor, ...],
    scheme: Scheme,
    kinds: tuple[str, ...] = KINDS,
) -> Layers:
    """The layers that `scheme` applies to, of these kinds of modules, and those that stay float.

    Half precision leaves modules with a true `keeps_fp32` alone, and what is inside of them.
    Raises `Unsupported` where no layer is left.
    """
    check_finite(model)
    kept = kept_fp32(model) if scheme.precision == "fp16" else frozenset[str]()
    chosen: list[str] = []
    floats: list[str] = []
    for path, layer in layers_run(model, example).items():
        stays = kept_float(path, scheme.floats) or path in kept
        fits = any(kind == base.__name__ for kind in kinds for base in type(layer).__mro__)
        (chosen if fits and not stays else floats).append(path)
    if not chosen:
        raise nothing_left()
    return Layers(tuple(chosen), tuple(floats))


def nothing_left() -> Unsupported:
    """The error of a network without any layer that a precision applies to."""
    return Unsupported("No layer of the network is left to be quantized.", next="--precision fp32")


def kept_fp32(model: nn.Module) -> frozenset[str]:
    """Paths of the modules with a true `keeps_fp32`, and of all modules inside of them.

    A quantized graph has no such modules any more; it carries their paths in its meta.
    """
    if isinstance(model, GraphModule):
        carried: frozenset[str] = model.meta.get(KEEPS_FP32, frozenset())
        return carried
    kept = [name for name, module in model.named_modules() if getattr(module, KEEPS_FP32, False)]
    return frozenset(
        name
        for name, _ in model.named_modules()
        if any(name == path or name.startswith(f"{path}.") or not path for path in kept)
    )


def check_finite(model: nn.Module) -> None:
    """Raise `BadCalibration` on weights that no integers can stand for."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BadCalibration(f"The weight {name} holds values that are not finite.")


def check_half(model: nn.Module, exempt: frozenset[str] = frozenset()) -> None:
    """Raise `Unsupported` on weights beyond float16, but those of modules of these paths, and
    `BadCalibration` on what is no number.
    """
    check_finite(model)
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name.rpartition(".")[0] in exempt or not value.is_floating_point():
            continue
        largest = float(value.detach().abs().max()) if value.numel() else 0.0
        if largest > HALF_LARGEST:
            raise Unsupported(
                f"The weight {name} has the value {largest:.6g}; 16-bit floats end at"
                f" {HALF_LARGEST:.0f}.",
                next="--precision fp32",
            )


def fingerprint(values: Any) -> bytes:
    """A hash of a float32 array's values in any order.

    Exporters rename weights and turn their dimensions, each in its own way; that their numbers are
    the same is what says which layer of the network a weight of a file belongs to.
    """
    flat = np.sort(np.ascontiguousarray(values, dtype=np.float32).ravel().view(np.uint32))
    return hashlib.sha256(flat.tobytes()).digest()


def fingerprints(model: nn.Module, layers: Layers) -> dict[bytes, str]:
    """Fingerprint -> module path of each chosen layer's weight.

    A weight that a float layer has too (shared, or by chance the same) is in no entry: it stays
    float.
    """

    def of(path: str) -> bytes:
        weight = model.get_submodule(path).weight
        assert isinstance(weight, Tensor)
        return fingerprint(weight.detach().cpu().numpy())

    float_ones = {of(path) for path in layers.floats}
    return {key: path for path in layers.chosen if (key := of(path)) not in float_ones}
