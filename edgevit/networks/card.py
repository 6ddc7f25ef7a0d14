"""Card: the data of a network before it is built. Loads no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A published score and where it stands."""

    metric: str
    value: float
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The data of a network before it is built."""

    name: str
    architecture: str
    variant: str
    task: str
    input_size: tuple[int, ...]  # height, width; frames before them for video
    size_multiple: int
    num_classes: int | None
    outputs: tuple[str, ...]
    params: int
    gmacs: float
    license: str
    preparation: str  # by its name: how pictures were prepared for the official weights
    published: tuple[Published, ...] = ()  # the one that `edgevit list` shows first
