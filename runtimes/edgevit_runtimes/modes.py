"""MODES: how long `bench` measures, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit_runtimes.errors import BadSetting


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mode sets; times in seconds. A setting that is given outright replaces the mode's."""

    name: str
    warmup: int
    runs: int  # at least
    min_secs: float  # at least
    max_secs: float  # a repeat; wins over the two above
    repeat: int
    meaning: str


MODES: Mapping[str, Mode] = MappingProxyType(
    {
        mode.name: mode
        for mode in (
            Mode("standard", 5, 50, 1.0, 30.0, 3, "three cold starts, each with 50 runs"),
            Mode("quick", 2, 10, 0.0, 10.0, 1, "a first look, no ground for a comparison"),
            # MLPerf Mobile, single stream: 1024 samples and 60 s at least; its figure is the p90.
            Mode("mlperf", 5, 1024, 60.0, 3600.0, 1, "1024 samples and 60 s: read p90"),
            # Ten minutes without a pause: what a device keeps up once it is warm.
            Mode("sustained", 5, 100, 600.0, 660.0, 1, "ten minutes, the p50 of each minute"),
        )
    }
)


def mode_named(name: str) -> Mode:
    """A mode by its name; raises `BadSetting` that lists them."""
    try:
        return MODES[name]
    except KeyError:
        raise BadSetting(
            f"There is no mode {name!r}; there are {', '.join(MODES)}.", next="--mode standard"
        ) from None
