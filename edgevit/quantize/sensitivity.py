"""How much each block loses by being integer, and which blocks to leave float for the least cost.

One network is calibrated once; its blocks are switched one by one. What the blocks lose adds up
closely enough to order them: the noise that a block adds to the output, for the time its integers
save. Every point of that order is measured; those that no other point beats are the Pareto set.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgevit.errors import UsageError
from edgevit.evaluation.measuring import measure
from edgevit.evaluation.samples import DataSet
from edgevit.evaluation.subject import Run, Subject, inputs_of, network_run
from edgevit.parity import Array
from edgevit.quantize.blocks import Block, blocks_of
from edgevit.quantize.calibration import Calibration
from edgevit.tasks.resize import FloatArray
from edgevit_export.quantization.styles import STYLES
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme

if TYPE_CHECKING:
    from edgevit.models.layers import Network
    from edgevit_export.quantization.simulate import Simulation

# The strictest style: outputs of linear layers are integers too, as XNNPACK and LiteRT want.
STYLE = STYLES["executorch"]
# Time of an integer product, float being 1: a model, from ViT-S in three runtimes on x86 with VNNI
# (../shared/guides/stack.md: 0.38 to 0.48). A measurement file takes its place.
INT8_COST = 0.45
PROBES = 8  # inputs that SQNR is measured on
Progress = Callable[[str, int, int], None]


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
    """What was found of one network."""

    metric: str
    float_value: float | None  # of the float network
    rows: tuple[Row, ...]
    points: tuple[Point, ...]  # from all integer to all float
    measured_costs: bool

    def patterns(self, point: Point) -> tuple[str, ...]:
        """The module paths of a point's float blocks, for `Scheme.floats`."""
        named = {row.block.name: row.block for row in self.rows}
        return tuple(pattern for name in point.floats for pattern in named[name].patterns)


def sensitivity(
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
    import torch

    with quiet():  # torchao tells of every CUDA library it does not find
        from edgevit_export.quantization.simulate import simulate

    example = torch.zeros(network.input_shape)
    sim = simulate(common, (example,), scheme, STYLE, ((sample,) for sample in samples))
    blocks = blocks_of(sim.layers)
    saved = _saved(blocks, costs)
    probes = _probes(subject, samples, data)
    wanted = [network_run(network)(tensor) for tensor in probes]

    def sqnr_of(paths: Sequence[str], what: str, done: int, total: int) -> float:
        progress(what, done, total)
        run = _run(sim, paths)
        return _sqnr([(run(tensor), want) for tensor, want in zip(probes, wanted, strict=True)])

    alone = [
        sqnr_of(block.layers, f"SQNR of {block.name}", index, len(blocks))
        for index, block in enumerate(blocks)
    ]
    order = sorted(
        range(len(blocks)),
        key=lambda i: -(10 ** (-alone[i] / 10)) / max(saved[blocks[i].name], 1e-9),
    )
    mixtures = [tuple(blocks[i].name for i in order[:count]) for count in range(len(blocks) + 1)]
    layers = {block.name: block.layers for block in blocks}

    def integers(floats: tuple[str, ...]) -> list[str]:
        return [path for name, held in layers.items() if name not in floats for path in held]

    sqnrs = [
        sqnr_of(integers(floats), "SQNR of mixtures", index, len(mixtures))
        for index, floats in enumerate(mixtures)
    ]
    runs = {f"block {block.name}": _run(sim, block.layers) for block in blocks}
    runs |= {f"mixture {i}": _run(sim, integers(f)) for i, f in enumerate(mixtures)}
    values: dict[str, float | None] = dict.fromkeys(runs)
    metric, own = "SQNR", None
    if data is not None:
        found = measure(subject, data, runs, network_run(network), progress=progress)
        values = {name: one.accuracy.value for name, one in found.items()}
        first = next(iter(found.values())).accuracy
        metric, own = first.metric, first.reference if first.labeled else 1.0
    total = sum(saved.values())
    rows = tuple(
        Row(block, sqnr, values[f"block {block.name}"])
        for block, sqnr in zip(blocks, alone, strict=True)
    )
    points = [
        Point(
            floats,
            1 - (total - sum(saved[name] for name in floats)) * (1 - INT8_COST) / total,
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


def cheapest(found: Sensitivity, keeps: Callable[[Point], bool]) -> Point | None:
    """The cheapest point that keeps what is asked; None where only the float network does."""
    kept = [point for point in found.points[:-1] if keeps(point)]
    return min(kept, key=lambda point: point.cost, default=None)


def _saved(blocks: Sequence[Block], costs: Mapping[str, float] | None) -> dict[str, float]:
    """What integers save, by block: multiplications, or ms of a measurement."""
    if costs is None:
        return {block.name: float(block.macs) for block in blocks}
    names = {block.name for block in blocks}
    unknown = sorted(set(costs) - names)
    if unknown or not costs:
        said = f"{unknown[0]!r} is no block of this network" if unknown else "it names no block"
        raise UsageError(
            f"The measurement file does not fit: {said}.",
            next="edgevit quantize MODEL --sensitivity --json, which names the blocks",
        )
    return {block.name: max(0.0, float(costs.get(block.name, 0.0))) for block in blocks}


def _probes(subject: Subject, samples: Calibration, data: DataSet | None) -> list[FloatArray]:
    """Inputs that were not calibrated on, where there are some."""
    found: list[FloatArray] = []
    if data is not None:
        for index in range(min(PROBES, len(data))):
            found += [prepared.tensor for prepared in inputs_of(subject, data.open(index))]
            if len(found) >= PROBES:
                return found[:PROBES]
    for array in samples.read():
        if len(found) >= PROBES:
            break
        found.append(array)
    return found


def _run(sim: "Simulation", paths: Sequence[str]) -> Run:
    import torch

    def run(tensor: FloatArray) -> list[Array]:
        with torch.no_grad(), sim.integer(paths):
            outputs = sim.run(torch.from_numpy(np.ascontiguousarray(tensor)))
        return [value.numpy() for value in outputs]

    return run


def _sqnr(pairs: Sequence[tuple[Sequence[Array], Sequence[Array]]]) -> float:
    """dB over all outputs of all probes together."""
    power = noise = 0.0
    for got, want in pairs:
        for a, b in zip(got, want, strict=True):
            wide = b.astype(np.float64)
            power += float((wide**2).sum())
            noise += float(((a.astype(np.float64) - wide) ** 2).sum())
    return 10 * float(np.log10(max(power, 1e-300) / max(noise, 1e-300)))
