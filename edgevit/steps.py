"""What a long command tells its user on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """Something to tell the user: a step starts or ends, or there is a remark."""

    kind: Literal["start", "done", "note"]
    text: str


Report = Callable[[Step], None]


def silent(step: Step) -> None:
    """A report that nobody reads."""
