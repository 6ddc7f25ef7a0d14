"""How much each block loses by being integer, and which mixtures of blocks are worth their cost.

What the blocks lose adds up closely enough to order them: the noise that a block adds to the
output, for the time its integers save. Every point of that order is measured; those that no other
point beats are the Pareto set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.scoring import Progress, measure
from edgevit.evaluation.subject import network_run
from edgevit.quantize.blocks import Block
from edgevit.quantize.calibration import Calibration
from edgevit.quantize.simulated import simulate_blocks
from edgevit.tasks.task import Subject
from edgevit_export.scheme import Scheme

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

# Time of an integer product, float being 1: a model, from ViT-S in three runtimes on x86 with VNNI
# (0.38 to 0.48). A measurement file takes its place.
INT8_COST = 0.45


@dataclass(frozen=True, slots=True)
class Row:
    """One block with only it integer."""

    block: Block
    sqnr: float  # dB, over the probes
    value: float | None  # agreement with fp32, or the task's metric; None: not measured


@dataclass(frozen=True, slots=True)
class Point:
    """One mixture: these blocks float, all others integer."""

    floats: tuple[str, ...]  # names of blocks
    cost: float  # modelled or measured, of the float network's 1
    sqnr: float
    value: float | None
    best: bool = False  # of the Pareto set


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The results for one network."""

    metric: str
    float_value: float | None  # of the float network
    rows: tuple[Row, ...]
    points: tuple[Point, ...]  # from all integer to all float
    measured_costs: bool

    def patterns(self, point: Point) -> tuple[str, ...]:
        """The module paths of a point's float blocks, for `Scheme.floats`."""
        named = {row.block.name: row.block for row in self.rows}
        return tuple(pattern for name in point.floats for pattern in named[name].patterns)


def measure_sensitivity(
    network: "Network",
    common: "Network",
    subject: Subject,
    samples: Calibration,
    data: DataSet | None,
    scheme: Scheme,
    costs: Mapping[str, float] | None = None,
    progress: Progress = lambda *_: None,
) -> Sensitivity:
    """Measure every block and every point of the mixture.

    network: as it was trained, the reference. common: after the rewrites of all formats and the
    weight edits, which is what files are made of. data: what agreement or the task's metric is
    measured on, None for SQNR alone. costs: ms that a block's integers save, by its name.
    Raises what `simulate` and `measure` raise, and `UsageError` where costs name no block.
    """
    simulated = simulate_blocks(network, common, subject, samples, data, scheme, costs, progress)
    mixtures = [simulated.mixture(count) for count in range(len(simulated.blocks) + 1)]
    sqnrs = [
        simulated.sqnr(simulated.integers(floats), f"SQNR of mixtures, {index} of {len(mixtures)}")
        for index, floats in enumerate(mixtures)
    ]
    runs = {f"block {block.name}": simulated.run(block.layers) for block in simulated.blocks}
    runs |= {f"mixture {i}": simulated.run(simulated.integers(f)) for i, f in enumerate(mixtures)}
    values: dict[str, float | None] = dict.fromkeys(runs)
    metric, own = "SQNR", None
    if data is not None:
        scores = measure(subject, data, runs, network_run(network), progress=progress)
        values = {name: measured.accuracy.value for name, measured in scores.items()}
        first = next(iter(scores.values())).accuracy
        metric, own = first.metric, first.reference if first.labeled else 1.0
    total = sum(simulated.saved.values())
    rows = tuple(
        Row(block, sqnr, values[f"block {block.name}"])
        for block, sqnr in zip(simulated.blocks, simulated.alone, strict=True)
    )
    points = [
        Point(
            floats,
            1 - (total - sum(simulated.saved[name] for name in floats)) * (1 - INT8_COST) / total,
            sqnr,
            values[f"mixture {index}"],
        )
        for index, (floats, sqnr) in enumerate(zip(mixtures, sqnrs, strict=True))
    ]
    return Sensitivity(metric, own, rows, pareto(points), costs is not None)


def pareto(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points, those marked that no other beats: none costs less or the same and is better."""

    def good(point: Point) -> tuple[float, float]:
        return (-1.0 if point.value is None else point.value, point.sqnr)

    marked = []
    for point in points:
        beaten = any(
            other.cost <= point.cost
            and good(other) >= good(point)
            and (other.cost, good(other)) != (point.cost, good(point))
            for other in points
        )
        marked.append(Point(point.floats, point.cost, point.sqnr, point.value, not beaten))
    return tuple(marked)
