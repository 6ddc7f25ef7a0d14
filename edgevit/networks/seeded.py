"""Random weights that depend on a seed alone, for networks whose speed matters and whose answers do
not.
"""

import hashlib
import math
import zlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d)
# Where values of order one leave what training gives: offsets stay near their start, and a
# performer's exp(-|k|^2 / 2) does not vanish beside the 1e-8 that is added to its sum.
SMALLER = {"sampling_offsets.weight": 0.2, ".kqv.weight": 0.22}
DIRECTIONS = ".w"  # of a performer's random features: rows of norm sqrt(m), m of them
PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)


@torch.no_grad()
def fill_seeded(network: nn.Module, seed: int) -> str:
    """Fill every trained parameter and statistic of a network; returns the sha256 of all of them.

    Each tensor is a function of (seed, its name, its shape), the same on every machine. Nothing is
    left at zero or one, so that no rewrite is exact by accident, and values through the layers stay
    of order one. Fixed tables and the start of sampling offsets, which were never trained, stay as
    they are built; fixed random directions are drawn anew, for they are built from another seed.
    """
    digest = hashlib.sha256()
    owners = dict(network.named_modules())
    for name, tensor in network.state_dict(keep_vars=True).items():
        owner = owners[name.rpartition(".")[0]]
        trained = not isinstance(tensor, nn.Parameter) or tensor.requires_grad
        drawn_once = name.endswith(DIRECTIONS)
        if (
            (trained or drawn_once)
            and tensor.is_floating_point()
            and not name.endswith("sampling_offsets.bias")
        ):
            drawn = _drawn(owner, name, tuple(tensor.shape), seed).astype(np.float32)
            tensor.copy_(torch.from_numpy(drawn))
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def _drawn(
    owner: nn.Module, name: str, shape: tuple[int, ...], seed: int
) -> NDArray[np.float32] | NDArray[np.float64]:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    last = name.rpartition(".")[2]
    if last == "running_var":
        return rng.uniform(0.5, 1.5, shape)
    if isinstance(owner, NORMS) and last == "weight":
        return rng.uniform(0.6, 1.4, shape)
    if last in ("running_mean", "bias"):
        return 0.1 * rng.standard_normal(shape, np.float32)
    if isinstance(owner, PRODUCTS) and last == "weight":
        # A transposed convolution has its inputs first.
        per_output = shape[1:] if not isinstance(owner, nn.ConvTranspose2d) else (shape[0], 4)
        scale = next((by for end, by in SMALLER.items() if name.endswith(end)), 1.0)
        return scale / math.sqrt(math.prod(per_output)) * rng.standard_normal(shape, np.float32)
    if name.endswith(DIRECTIONS):
        return math.sqrt(shape[0] / shape[1]) * rng.standard_normal(shape, np.float32)
    if "gamma" in last or len(shape) == 1:
        return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.3, 0.9, shape)
    return 0.2 * rng.standard_normal(shape, np.float32)  # tokens and tables
