"""Progress of a long command, for its user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """A message for the user: a step starts or ends, or a note."""

    kind: Literal["start", "done", "note"]
    text: str


Report = Callable[[Step], None]


def silent(step: Step) -> None:
    """Report nothing."""
