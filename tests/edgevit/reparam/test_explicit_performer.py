"""Linear attention with its constants in one exponent."""

import numpy as np
import pytest
import torch

from edgevit.models.t2t_vit import FeatureAttend
from edgevit.parity import difference
from edgevit.reparam.explicit_performer import ScaledFeatureAttend


def inputs(spread, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    k, q, v = (
        spread * torch.randn(2, 30, 16, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    w = torch.linalg.qr(torch.randn(16, 8, generator=generator, dtype=torch.float64))[0].T * 8**0.5
    return [part.to(dtype) for part in (k, q, v / spread, w)]


# At 4 the sums lie near the 1e-8, at 0.01 far above.
@pytest.mark.parametrize("spread", [0.01, 1, 2, 4])
def test_equal_where_sums_are_large_and_where_they_are_small(spread):
    parts = inputs(spread)
    assert torch.allclose(
        ScaledFeatureAttend()(*parts), FeatureAttend()(*parts), rtol=1e-10, atol=1e-12
    )


def test_the_1e_8_matters_where_features_are_small():
    k, q, v, w = inputs(4)
    kernel = FeatureAttend().kernel
    keys, queries = kernel(k, w), kernel(q, w)
    without = queries @ (keys.transpose(1, 2) @ v) / (queries @ keys.sum(1).unsqueeze(-1))
    assert difference(without.numpy(), FeatureAttend()(k, q, v, w).numpy()) > 0.01


@pytest.mark.parametrize("spread", [0.01, 1, 4])
def test_float32_has_room_for_it(spread):
    wanted = FeatureAttend()(*inputs(spread)).numpy()
    got = ScaledFeatureAttend()(*inputs(spread, torch.float32)).numpy()
    assert np.isfinite(got).all()
    assert difference(got, wanted) < 1e-4
