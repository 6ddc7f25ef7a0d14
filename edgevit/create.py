"""create_model: a name and perhaps a checkpoint in, an eval-mode network out."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgevit.checkpoints.reader import Checkpoint, read_checkpoint
from edgevit.checkpoints.strict import load_strict
from edgevit.errors import CheckpointError, UsageError
from edgevit.models.card import ModelCard
from edgevit.models.zoo import model_card

if TYPE_CHECKING:
    from edgevit.models import topformer
    from edgevit.models.layers import Network

MAX_SIDE = 4096  # px; a larger input is a typing error, not a phone's


@dataclass(frozen=True, slots=True)
class Loaded:
    """An eval-mode network, and the checkpoint it was loaded from."""

    network: "Network"
    checkpoint: Checkpoint | None


def create_model(
    name: str,
    weights: str | Path | None = None,
    input_size: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    outputs: Literal["task", "all"] = "task",
    **options: object,
) -> "Network":
    """Build a network in eval mode, loading a checkpoint strictly where one is given.

    The forward takes float32 [1, 3, H, W], normalized RGB, and returns raw outputs (logits, never
    softmax): a tensor, or a tuple in the order of `model_card(name).outputs`; with `outputs="all"`
    a dict that holds intermediate maps too. Class counts and widths are read from the checkpoint's
    shapes. An ImageNet file initializes a segmentation network's backbone and warns that the rest
    is untrained.

    Raises `UsageError` (unknown name, option or size) and `CheckpointError` (unreadable, refused,
    or not fitting).
    """
    return load_network(name, weights, input_size, num_classes, outputs, **options).network


def load_network(
    name: str,
    weights: str | Path | None = None,
    input_size: tuple[int, ...] | None = None,
    num_classes: int | None = None,
    outputs: str = "task",
    /,
    **options: object,
) -> Loaded:
    """`create_model` with what the checkpoint says of itself."""
    from edgevit.checkpoints.layouts import topformer as topformer_layout
    from edgevit.models import topformer

    card = model_card(name)
    size = checked_size(card, input_size)
    if outputs not in ("task", "all"):
        raise UsageError(f"outputs={outputs!r} is neither 'task' nor 'all'.")
    if num_classes is not None and (num_classes < 1 or card.num_classes is None):
        raise UsageError(f"{name} cannot have {num_classes} classes.", next=f"edgevit info {name}")
    config = topformer_layout.configure(card.variant, card.task, num_classes, options)
    checkpoint = None
    if weights is None:
        network = topformer.build(card.task, config, outputs == "all")
    else:
        checkpoint = read_checkpoint(Path(weights), prefer=topformer_layout.PREFER)
        network = _load(card, checkpoint, config, num_classes, outputs == "all", options)
    network.input_shape = (1, 3, *size)
    network.output_names = card.outputs
    return Loaded(network.eval(), checkpoint)


def checked_size(card: ModelCard, size: tuple[int, ...] | None) -> tuple[int, int]:
    """The input size, or the card's own; raises `UsageError` where it is out of bounds."""
    if size is None:
        size = card.input_size
    if len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise UsageError(f"{card.name} takes an input size of two numbers, height and width.")
    if min(size) < 32 or max(size) > MAX_SIDE:
        raise UsageError(
            f"Input size {size[0]}x{size[1]} is outside 32 to {MAX_SIDE} pixels a side.",
            next=f"edgevit info {card.name}",
        )
    return size[0], size[1]


def _load(
    card: ModelCard,
    checkpoint: Checkpoint,
    config: "topformer.Config",
    num_classes: int | None,
    all_outputs: bool,
    options: Mapping[str, object],
) -> "Network":
    from edgevit.checkpoints.layouts import topformer as topformer_layout
    from edgevit.models import topformer

    source = checkpoint.path.name
    adapted = topformer_layout.adapt(checkpoint.tensors, card.task, config, options)
    if num_classes is not None and adapted.config.num_classes != num_classes:
        raise CheckpointError(
            f"{source} holds {adapted.config.num_classes} classes, not {num_classes}.",
            next="leave --num-classes out: the checkpoint's own count is used",
        )
    network = topformer.build(card.task, adapted.config, all_outputs)
    start = {
        key: value
        for key, value in network.state_dict().items()
        if adapted.untrained and key.startswith(adapted.untrained)
    }
    load_strict(
        network,
        {**start, **adapted.tensors},
        source=str(checkpoint.path),
        likely=topformer_layout.recognize,
    )
    if adapted.untrained:
        network.untrained = adapted.untrained
        warnings.warn(
            f"{source} is an ImageNet backbone file:"
            f" {' and '.join(adapted.untrained)} keep their random start",
            stacklevel=4,
        )
    return network
