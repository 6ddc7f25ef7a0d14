"""What every layout's `adapt` returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Adapted(Generic[C]):
    """A checkpoint brought to a network: its configuration, its tensors under our names, what it
    leaves untrained, and the preparation of pictures where it tells a source other than the card's.
    """

    config: C
    tensors: Mapping[str, Tensor]
    untrained: tuple[str, ...] = ()
    preparation: str | None = None
