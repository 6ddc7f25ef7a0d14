"""ARCHITECTURES: what builds a system's networks and what reads its checkpoints, by name.

This is the one place where all of them meet. It loads torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from edgevit.checkpoints.layouts import mvitv2 as mvitv2_layout
from edgevit.checkpoints.layouts import t2t_vit as t2t_vit_layout
from edgevit.checkpoints.layouts import topformer as topformer_layout
from edgevit.checkpoints.layouts import vit as vit_layout
from edgevit.checkpoints.layouts import vit_adapter as vit_adapter_layout
from edgevit.checkpoints.layouts import vitpose as vitpose_layout
from edgevit.checkpoints.layouts.adapted import Adapted
from edgevit.checkpoints.reader import Checkpoint
from edgevit.models import mvitv2, t2t_vit, topformer, vit, vit_adapter, vitpose
from edgevit.models.card import ModelCard
from edgevit.models.layers import Network

Options = Mapping[str, object]
Shapes = Mapping[str, tuple[int, ...]]


class Layout(Protocol):
    """A module of `checkpoints.layouts`."""

    @property
    def PREFER(self) -> tuple[str, ...]:  # noqa: N802 - the modules' constant
        """Names of containers in a file, the first that is there taken."""

    @property
    def OPTIONS(self) -> tuple[str, ...]:  # noqa: N802 - the same
        """What `configure` takes."""

    def configure(
        self,
        card: ModelCard,
        input_size: tuple[int, ...],
        num_classes: int | None,
        options: Options,
        /,
    ) -> Any:
        """The architecture's own configuration; raises `UsageError`."""

    def adapt(
        self, tensors: Mapping[str, Tensor], card: ModelCard, config: Any, options: Options, /
    ) -> Adapted[Any]:
        """A state dict brought to the card's network; raises `CheckpointError`."""

    def recognize(self, shapes: Shapes, /) -> str | None:
        """The name of the model that these shapes belong to."""


Adapt = Callable[[Checkpoint, ModelCard, Any, Options], Adapted[Any]]


class Contained(Protocol):
    """A layout's `adapt` that also asks where in the file the tensors lay."""

    def __call__(
        self,
        tensors: Mapping[str, Tensor],
        card: ModelCard,
        config: Any,
        options: Options,
        /,
        *,
        container: str,
    ) -> Adapted[Any]:
        """A state dict brought to the card's network; raises `CheckpointError`."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one system's networks are configured, built, and filled from a checkpoint."""

    layout: Layout
    build: Callable[[ModelCard, Any, bool], Network]
    adapt: Adapt


def _by_keys(layout: Layout) -> Adapt:
    """A layout that its keys alone tell."""

    def adapt(
        checkpoint: Checkpoint, card: ModelCard, config: Any, options: Options
    ) -> Adapted[Any]:
        return layout.adapt(checkpoint.tensors, card, config, options)

    return adapt


def _by_container(layout_adapt: Contained) -> Adapt:
    """A layout whose sources share their keys and differ in what their files wrap them in: timm,
    DeiT and MAE; T2T-ViT's release and transfer files.
    """

    def adapt(
        checkpoint: Checkpoint, card: ModelCard, config: Any, options: Options
    ) -> Adapted[Any]:
        return layout_adapt(
            checkpoint.tensors, card, config, options, container=checkpoint.container
        )

    return adapt


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "topformer": Architecture(topformer_layout, topformer.build, _by_keys(topformer_layout)),
        "vit": Architecture(vit_layout, vit.build, _by_container(vit_layout.adapt)),
        "vitpose": Architecture(vitpose_layout, vitpose.build, _by_keys(vitpose_layout)),
        "t2t_vit": Architecture(t2t_vit_layout, t2t_vit.build, _by_container(t2t_vit_layout.adapt)),
        "mvitv2": Architecture(mvitv2_layout, mvitv2.build, _by_keys(mvitv2_layout)),
        "vit_adapter": Architecture(
            vit_adapter_layout, vit_adapter.build, _by_keys(vit_adapter_layout)
        ),
    }
)

# The most particular first: a ViT's keys are also those of a ViTPose's and a ViT-Adapter's inside.
_ORDER = ("topformer", "vit_adapter", "vitpose", "t2t_vit", "mvitv2", "vit")


def recognize(shapes: Shapes) -> str | None:
    """The model whose checkpoint has these shapes, of any architecture; None where none has."""
    for name in _ORDER:
        found = ARCHITECTURES[name].layout.recognize(shapes)
        if found is not None:
            return found
    return None
