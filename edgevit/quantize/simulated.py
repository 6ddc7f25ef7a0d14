"""A network calibrated once, whose blocks are made integer one by one in torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgevit.difference import Array
from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.scoring import Progress
from edgevit.evaluation.subject import Run, inputs_of, network_run
from edgevit.quantize.blocks import Block, blocks_of
from edgevit.quantize.calibration import Calibration
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.task import Subject
from edgevit_export.quantization.styles import STYLES
from edgevit_export.quiet import quiet
from edgevit_export.scheme import Scheme

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network
    from edgevit_export.quantization.simulate import Simulation

# The strictest style: outputs of linear layers are integers too, as XNNPACK and LiteRT want.
STYLE = STYLES["executorch"]
PROBES = 8  # inputs that SQNR is measured on


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedBlocks:
    """A calibrated network, its blocks in the order of its graph, and what each loses alone."""

    sim: "Simulation"
    blocks: tuple[Block, ...]
    saved: Mapping[str, float]
    probes: Sequence[FloatArray]
    wanted: Sequence[Sequence[Array]]
    progress: Progress
    alone: tuple[float, ...] = ()  # dB

    def run(self, paths: Sequence[str]) -> Run:
        """The network with these layers integer."""
        return _run(self.sim, paths)

    def sqnr(self, paths: Sequence[str], what: str) -> float:
        """dB with these layers integer, over the probes."""
        run = self.run(paths)
        pairs = []
        for number, (tensor, want) in enumerate(zip(self.probes, self.wanted, strict=True)):
            self.progress(what, number, len(self.probes))
            pairs.append((run(tensor), want))
        return _sqnr(pairs)

    def mixture(self, count: int) -> tuple[str, ...]:
        """The names of the `count` blocks that add most noise for the time they save."""

        def worth(index: int) -> float:
            saved = max(self.saved[self.blocks[index].name], 1e-9)
            return float(10 ** (-self.alone[index] / 10)) / saved

        order = sorted(range(len(self.blocks)), key=worth, reverse=True)
        return tuple(self.blocks[index].name for index in order[:count])

    def integers(self, floats: Sequence[str]) -> list[str]:
        """The layers of all other blocks."""
        return [path for b in self.blocks if b.name not in floats for path in b.layers]


def simulate_blocks(
    network: "Network",
    common: "Network",
    subject: Subject,
    samples: Calibration,
    data: DataSet | None,
    scheme: Scheme,
    costs: Mapping[str, float] | None,
    progress: Progress,
) -> SimulatedBlocks:
    """Calibrate a network and measure every block alone; arguments as of `measure_sensitivity`."""
    import torch

    with quiet():  # torchao tells of every CUDA library it does not find
        from edgevit_export.quantization.simulate import simulate

    progress("calibrate", 0, 1)
    example = torch.zeros(network.input_shape)
    sim = simulate(common, (example,), scheme, STYLE, ((sample,) for sample in samples))
    blocks = blocks_of(sim.layers)
    probes = _probes(subject, samples, data)
    wanted = [network_run(network)(tensor) for tensor in probes]
    simulated = SimulatedBlocks(sim, blocks, _saved(blocks, costs), probes, wanted, progress)
    alone = tuple(
        simulated.sqnr(block.layers, f"SQNR of block {number} of {len(blocks)}")
        for number, block in enumerate(blocks, 1)
    )
    return replace(simulated, alone=alone)


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
    probes: list[FloatArray] = []
    if data is not None:
        for index in range(min(PROBES, len(data))):
            probes += [prepared.tensor for prepared in inputs_of(subject, data.open(index))]
            if len(probes) >= PROBES:
                return probes[:PROBES]
    for array in samples.read():
        if len(probes) >= PROBES:
            break
        probes.append(array)
    return probes


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
