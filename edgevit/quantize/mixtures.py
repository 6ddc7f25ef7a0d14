"""The mixture `--precision mixed` takes: the fewest float blocks that keep the gate in torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgevit.bundle.manifest import Accuracy
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.scoring import Progress, measure
from edgevit.evaluation.subject import network_run
from edgevit.quantize.calibration import Calibration
from edgevit.quantize.simulated import simulate_blocks
from edgevit.tasks.task import Subject
from edgevit_export.scheme import Scheme

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network


@dataclass(frozen=True, slots=True)
class Mixture:
    """The float blocks that were chosen, and what the mixture keeps in torch."""

    floats: tuple[str, ...]
    patterns: tuple[str, ...]  # of module paths, for `Scheme.floats`
    sqnr: float
    accuracy: Accuracy | None


def choose_mixture(
    network: "Network",
    common: "Network",
    subject: Subject,
    samples: Calibration,
    data: DataSet | None,
    scheme: Scheme,
    keeps: Callable[[float, Accuracy | None], bool],
    progress: Progress = lambda *_: None,
) -> Mixture | None:
    """The mixture with the fewest float blocks, in the order of noise for cost, that keeps what is
    asked; None where only the float network does.

    Found by halving, since a large network runs for minutes at every point: what more float blocks
    keep is taken for no less. keeps: of the SQNR in dB and, with data, what was measured there.
    """
    simulated = simulate_blocks(network, common, subject, samples, data, scheme, None, progress)

    def tried(count: int) -> Mixture | None:
        floats = simulated.mixture(count)
        paths = simulated.integers(floats)
        said = f"mixture with {count} of {len(simulated.blocks)} blocks float"
        value = simulated.sqnr(paths, said)
        accuracy = None
        if data is not None:
            runs = {said: simulated.run(paths)}
            scores = measure(subject, data, runs, network_run(network), progress=progress)
            accuracy = scores[said].accuracy
        patterns = tuple(
            p for block in simulated.blocks if block.name in floats for p in block.patterns
        )
        return Mixture(floats, patterns, value, accuracy) if keeps(value, accuracy) else None

    # None float was tried before, all float is no int8 file.
    low, high = 1, len(simulated.blocks) - 1
    best = tried(high) if high >= low else None
    while best is not None and low < high:
        middle = (low + high) // 2
        mixture = tried(middle)
        if mixture is None:
            low = middle + 1
        else:
            best, high = mixture, middle
    return best
