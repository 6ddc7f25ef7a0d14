"""What float32 itself loses of a network, where a file cannot be compared with it."""

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np

from edgevit.bundle.parity import FP32_DIFFERENCE, Case
from edgevit.difference import difference
from edgevit.errors import CheckFailed

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network


def with_rounding(error: CheckFailed, reference: "Network", cases: Sequence[Case]) -> CheckFailed:
    """The failure, and where float32 itself is to blame, the number that says so.

    A network whose float32 outputs lie far from its float64 ones has no float32 file that could be
    compared: weights that were never trained, or that overflow, do that.
    """
    own = rounding(reference, cases)
    if own <= FP32_DIFFERENCE:
        return error
    return CheckFailed(
        f"{error.message.rstrip('.')}; but the network's own float32 outputs differ by {own:.1e}"
        " from its float64 ones, so these weights cannot be compared well in any file.",
        next="check the checkpoint (is it trained?), or give --atol with what you accept",
    )


def rounding(network: "Network", cases: Sequence[Case]) -> float:
    """The worst difference between the network in float64 and the cases' float32 outputs."""
    import torch

    wide = deepcopy(network).double()
    worst = 0.0
    for case in cases:
        with torch.no_grad():
            out = wide(*(torch.from_numpy(array).double() for array in case.inputs))
        outputs = out if isinstance(out, tuple) else (out,)
        for exact, own in zip(outputs, case.outputs, strict=True):
            if np.issubdtype(own.dtype, np.integer):
                continue  # labels have no distance
            worst = max(worst, difference(own, exact.numpy()))
    return worst
