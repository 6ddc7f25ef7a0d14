"""Checkpoints that lie about a shape: every one is refused, and in one sentence."""

from collections.abc import Callable, Iterable, Mapping
from itertools import product

import pytest
import torch
from torch import Tensor

from edgevit.errors import CheckpointError


def refuse_lying_shapes(
    load: Callable[[dict[str, Tensor]], object],
    state: Mapping[str, Tensor],
    keys: Iterable[str],
    shapes: Iterable[tuple[int, ...]],
) -> None:
    """Give `load` the state with each key in each shape; a failure names the two."""
    for key, shape in product(keys, shapes):
        lie = f"{key} of shape {shape}"
        try:
            load({**state, key: torch.zeros(shape)})
        except CheckpointError as error:
            told = error.message
        except Exception as error:
            raise AssertionError(f"{lie} raised {error!r}") from error
        else:
            pytest.fail(f"{lie} was loaded")
        assert "\n" not in told, lie
