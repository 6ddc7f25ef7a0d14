"""The names that inputs and outputs have in a file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Names of a network's inputs and outputs, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
