"""create_model: a name and perhaps a checkpoint in, an eval-mode network out."""

import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgevit.checkpoints.reader import Checkpoint, read_checkpoint
from edgevit.checkpoints.strict import Likely, load_strict
from edgevit.errors import CheckpointError, UsageError
from edgevit.networks.card import ModelCard
from edgevit.networks.zoo import model_card, recognize, system_of

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

MIN_SIDE, MAX_SIDE = 32, 4096  # px; a larger input is a typing error, not a phone's
MOST_CLASSES = 1 << 16  # what a label map can hold


class PartlyUntrained(UserWarning):
    """A checkpoint fills a part of the network alone."""


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

    The forward takes float32 [1, 3, H, W], normalized RGB (video: [1, 3, T, H, W]), and returns raw
    outputs (logits, never softmax): a tensor, or a tuple in the order of
    `model_card(name).outputs`; with `outputs="all"` a dict that holds intermediate maps too. Class
    counts and widths are read from the checkpoint's shapes. A file that holds a backbone alone
    initializes it, and warns (`PartlyUntrained`) of what stays random.

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
    card = model_card(name)
    parts = system_of(card).load()
    size = checked_size(card, input_size)
    if outputs not in ("task", "all"):
        raise UsageError(f"outputs={outputs!r} is neither 'task' nor 'all'.")
    check_classes(card, num_classes)
    config = parts.checkpoint.configure(card, size, num_classes, options)
    checkpoint = None
    if weights is None:
        network = parts.build(card, config, outputs == "all")
    else:
        checkpoint = read_checkpoint(Path(weights), prefer=parts.checkpoint.PREFER)
        network = _load(card, checkpoint, config, num_classes, outputs == "all", options)
    network.input_shape = (1, 3, *size)
    network.output_names = card.outputs
    network.preparation = network.preparation or card.preparation
    return Loaded(network.eval(), checkpoint)


def checked_size(card: ModelCard, size: tuple[int, ...] | None) -> tuple[int, ...]:
    """The input size, by default the card's; raises `UsageError` if it is out of bounds."""
    if size is None:
        return card.input_size
    numbers = (
        "two numbers, height and width"
        if len(card.input_size) == 2
        else "three numbers, frames, height and width"
    )
    if len(size) != len(card.input_size) or not all(isinstance(side, int) for side in size):
        raise UsageError(
            f"{card.name} takes an input size of {numbers}.", next=f"edgevit info {card.name}"
        )
    *frames, height, width = size
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in (height, width)):
        raise UsageError(
            f"Input size {height}x{width} is outside {MIN_SIDE} to {MAX_SIDE} pixels a side.",
            next=f"edgevit info {card.name}",
        )
    if not all(1 <= count <= MAX_SIDE for count in frames):
        raise UsageError(
            f"A clip of {frames[0]} frames is outside 1 to {MAX_SIDE}.",
            next=f"edgevit info {card.name}",
        )
    return size


def check_classes(card: ModelCard, count: int | None) -> None:
    """Raise `UsageError` on a count of classes that the network cannot have. None: not asked."""
    if count is not None and (card.num_classes is None or not 1 <= count <= MOST_CLASSES):
        raise UsageError(
            f"{card.name} cannot have {count} classes.", next=f"edgevit info {card.name}"
        )


def _load(
    card: ModelCard,
    checkpoint: Checkpoint,
    config: Any,
    num_classes: int | None,
    all_outputs: bool,
    options: Mapping[str, object],
) -> "Network":
    parts = system_of(card).load()
    source = checkpoint.path.name
    likely = _other_than(card, checkpoint)
    try:
        adapted = parts.adapt(checkpoint, card, config, options)
    except CheckpointError:
        found = likely({})
        if found is None or model_card(found).architecture == card.architecture:
            raise
        raise CheckpointError(
            f"{source} is not a {card.name} checkpoint; it looks like a {found} checkpoint.",
            next=f"edgevit export {found} --weights {shlex.quote(str(checkpoint.path))}",
        ) from None
    if num_classes is not None and adapted.config.num_classes != num_classes:
        raise CheckpointError(
            f"{source} holds {adapted.config.num_classes} classes, not {num_classes}.",
            next="leave --num-classes out: the checkpoint's own count is used",
        )
    network = parts.build(card, adapted.config, all_outputs)
    start = {
        key: value
        for key, value in network.state_dict().items()
        if adapted.untrained and key.startswith(adapted.untrained)
    }
    load_strict(
        network,
        {**start, **adapted.tensors},
        source=str(checkpoint.path),
        likely=likely,
    )
    network.preparation = adapted.preparation or card.preparation
    if adapted.untrained:
        network.untrained = adapted.untrained
        missing = " and ".join(part.rstrip(".") for part in adapted.untrained)
        warnings.warn(
            f"{source} has no weights for {missing}, which keep their random start",
            PartlyUntrained,
            stacklevel=4,
        )
    return network


def _other_than(card: ModelCard, checkpoint: Checkpoint) -> Likely:
    """Names the model that a file which does not fit looks like, by its own keys before those that
    the layout made of them; None where it is the one asked for: the same command would not help.
    """
    layout = system_of(card).load().checkpoint

    def likely(adapted: Mapping[str, tuple[int, ...]]) -> str | None:
        own = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
        found = recognize(own) or layout.recognize(adapted) or recognize(adapted)
        return None if found == card.name else found

    return likely
