"""Seeded weights are a function of the seed alone."""

import pytest
import torch

from edgevit.networks.create import create_model
from edgevit.networks.seeded import fill_seeded
from edgevit.networks.zoo import MODELS

NAMES = ("topformer-t", *(name for name in MODELS if "micro" in name.split("-")))


@pytest.mark.parametrize("name", NAMES)
def test_two_networks_of_a_seed_are_equal_and_of_two_are_not(name: str) -> None:
    networks = [create_model(name) for _ in range(3)]
    hashes = [fill_seeded(network, seed) for network, seed in zip(networks, (0, 0, 1), strict=True)]
    assert hashes[0] == hashes[1] != hashes[2]
    first, second, _ = (network.state_dict() for network in networks)
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
