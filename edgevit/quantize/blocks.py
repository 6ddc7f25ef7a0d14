"""Blocks of a network: the parts that are made integer, or left float, together."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgevit_export.quantization.simulate import Layer

HALVES = ("attn", "mlp")  # of a transformer's block, which fail for different reasons


@dataclass(frozen=True, slots=True)
class Block:
    """Layers that share the start of their module paths."""

    name: str
    layers: tuple[str, ...]  # their paths
    macs: int

    @property
    def patterns(self) -> tuple[str, ...]:
        """What names it in every format's network, whose rewrites change no start of a path."""
        return (self.name,)


def block_of(path: str) -> str:
    """`blocks.3.mlp.fc1` is of `blocks.3.mlp`, `tpm.layer2.conv.0.c` of `tpm.layer2`.

    A path is cut behind its first numbered part, and behind the half of a transformer's block; one
    without a number is a block of its own.
    """
    parts = path.split(".")
    for index, part in enumerate(parts):
        if part[-1:].isdigit():
            end = index + 1
            if parts[end : end + 1] and parts[end] in HALVES:
                end += 1
            return ".".join(parts[:end])
    return path


def blocks_of(layers: "Iterable[Layer]") -> tuple[Block, ...]:
    """The blocks of a network, in the order of its graph."""
    by_name: dict[str, list[Layer]] = {}
    for layer in layers:
        by_name.setdefault(block_of(layer.path), []).append(layer)
    return tuple(
        Block(
            name,
            tuple(dict.fromkeys(layer.path for layer in held)),
            sum(layer.macs for layer in held),
        )
        for name, held in by_name.items()
    )
