"""Weights for networks under test: pure functions of a seed, with nothing left at zero or one."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from tests.support.once import Shared

PARITY = Path(__file__).resolve().parents[1] / "parity"


def load_seeded_weights() -> ModuleType:
    """tests/parity/seeded_weights.py, which is data's companion and no test module."""
    path = PARITY / "seeded_weights.py"
    spec = importlib.util.spec_from_file_location("seeded_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SEEDED = load_seeded_weights()


def kind_of(key: str, value: Tensor) -> str:
    """The reference cases' kind of one tensor, told by its name and rank."""
    last = key.rpartition(".")[2]
    if last in ("num_batches_tracked", "running_mean", "running_var"):
        return {"num_batches_tracked": "nbt", "running_mean": "bn_mean", "running_var": "bn_var"}[
            last
        ]
    if ".bn." in key:
        return {"weight": "norm_w", "bias": "norm_b"}[last]
    return "bias" if last == "bias" else f"w:{value[0].numel()}"


def seeded_state(network: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    """A state dict of the network's shapes that keeps activations of order one."""
    return {
        key: torch.from_numpy(SEEDED.fill(key, tuple(value.shape), kind_of(key, value), seed))
        for key, value in network.state_dict().items()
    }


@pytest.fixture(scope="session")
def seeded() -> ModuleType:
    """The helper of the reference cases."""
    return SEEDED


@pytest.fixture(scope="session")
def state_of() -> Callable[..., dict[str, Tensor]]:
    """`seeded_state`."""
    return seeded_state


@pytest.fixture(scope="session")
def filled() -> Callable[..., nn.Module]:
    """Give a network seeded weights and return it."""

    def fill(network: nn.Module, seed: int = 1) -> nn.Module:
        network.load_state_dict(seeded_state(network, seed))
        return network

    return fill


@pytest.fixture(scope="session")
def five_classes(shared: Shared) -> Path:
    """A segmentation checkpoint of topformer-t with seeded weights and five named classes."""
    from edgevit.networks.create import create_model

    def make(folder: Path) -> Path:
        path = folder / "TopFormer-T.pth"
        state = seeded_state(create_model("topformer-t", num_classes=5))
        names = ("sky", "bed ", "road", "tree", "person")
        torch.save({"state_dict": state, "meta": {"CLASSES": names, "epoch": 3}}, path)
        return path

    return shared("five-classes", make)
