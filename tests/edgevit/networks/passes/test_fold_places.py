"""Class tokens and position tables as constants, in batches of one and of more."""

from copy import deepcopy

import pytest
import torch

from edgevit.networks.passes.fold_places import ConstantPlaces
from edgevit.networks.t2t_vit import passes as t2t_vit
from edgevit.networks.vit import passes as vit
from edgevit.networks.vitpose import passes as vitpose


def fold_places(network):
    for room in (vit, vitpose, t2t_vit):
        network = room.fold_places(network)
    return network


@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_equal_in_any_batch(plain, batch):
    network = plain.double()
    generator = torch.Generator().manual_seed(4)
    shape = (batch, *network.input_shape[1:])
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    folded = fold_places(deepcopy(network))
    assert torch.allclose(folded(x), network(x), atol=1e-12)
    assert sum(isinstance(module, ConstantPlaces) for module in folded.modules()) == 1


def test_the_keys_leave_with_their_values(plain_named):
    before = plain_named("vit-two-tokens")
    after = fold_places(deepcopy(before))
    gone = set(before.state_dict()) - set(after.state_dict())
    assert gone == {"cls_token", "dist_token", "pos_embed"}
    assert after.placed.first.shape == (1, 2, 32)
    assert after.placed.table.shape == (1, 12, 32)
