"""System: all parts of one family of networks, as one value; they load torch on demand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from edgevit.networks.card import ModelCard
from edgevit.networks.integers import Integers
from edgevit.networks.preparation import Preparation

if TYPE_CHECKING:
    from torch import Tensor

    from edgevit.checkpoints.reader import Checkpoint
    from edgevit.networks.adapted import Adapted
    from edgevit.networks.parts.layers import Network

Options = Mapping[str, object]
Shapes = Mapping[str, tuple[int, ...]]
Stage = Literal["common", "format"]
ALL_FORMATS = ("onnx", "executorch", "litert", "coreml")


class CheckpointModule(Protocol):
    """A room's checkpoint.py: from an official project's state dict to the network's own."""

    @property
    def PREFER(self) -> tuple[str, ...]:  # noqa: N802 - the modules' constant
        """Names of containers in a file; the first that exists is taken."""

    @property
    def OPTIONS(self) -> tuple[str, ...]:  # noqa: N802 - the same
        """The options that `configure` takes."""

    def configure(
        self,
        card: ModelCard,
        input_size: tuple[int, ...],
        num_classes: int | None,
        options: Options,
        /,
    ) -> Any:
        """The system's own configuration; raises `UsageError`."""

    def recognize(self, shapes: Shapes, /) -> str | None:
        """The name of the model that these shapes belong to."""


# A checkpoint brought to the card's network by its configuration; raises `CheckpointError`.
Adapt = Callable[["Checkpoint", ModelCard, Any, Options], "Adapted[Any]"]


def by_keys(
    adapt: "Callable[[Mapping[str, Tensor], ModelCard, Any, Options], Adapted[Any]]",
) -> Adapt:
    """`Adapt` for a system whose sources differ in their keys."""
    return lambda checkpoint, *asked: adapt(checkpoint.tensors, *asked)


def by_container(adapt: "Callable[..., Adapted[Any]]") -> Adapt:
    """`Adapt` for a system whose sources have the same keys in different containers: timm, DeiT and
    MAE; a release and a transfer.
    """
    return lambda checkpoint, *asked: adapt(
        checkpoint.tensors, *asked, container=checkpoint.container
    )


@dataclass(frozen=True, slots=True)
class Pass:
    """One rewrite: `run` takes a network and an example input, and returns the network rewritten.

    A system's own pass stands before the general one that `before` names, or at its stage's end.
    """

    run: "Callable[[Network, Tensor], Any]"
    stage: Stage
    formats: tuple[str, ...]
    reason: str
    before: str | None = None
    float_only: tuple[str, ...] = ()  # formats whose integer files do without it

    @property
    def name(self) -> str:
        """The function's name, dashed."""
        return self.run.__name__.replace("_", "-")


def alone(function: Callable[[Any], Any]) -> "Callable[[Network, Tensor], Any]":
    """A rewrite that needs no example input."""

    def run(model: "Network", example: "Tensor") -> Any:
        return function(model)

    run.__name__ = function.__name__
    return run


@dataclass(frozen=True, slots=True)
class Parts:
    """What of a system loads torch."""

    build: "Callable[[ModelCard, Any, bool], Network]"  # the bool: all outputs
    checkpoint: CheckpointModule
    adapt: Adapt
    passes: tuple[Pass, ...]
    integers: Integers


@dataclass(frozen=True, slots=True)
class System:
    """One family of networks."""

    name: str
    cards: tuple[ModelCard, ...]
    load: Callable[[], Parts]
    # How the sources of its weights prepare pictures, beside those that all systems share.
    preparations: Mapping[str, Preparation] = field(default_factory=lambda: MappingProxyType({}))
