"""What a long command tells its user on the way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """Something to tell the user: a step starts or ends, or there is a remark."""

    kind: Literal["start", "done", "note"]
    text: str
    value: object = None  # that the text tells of, for those who read no text


Report = Callable[[Step], None]
