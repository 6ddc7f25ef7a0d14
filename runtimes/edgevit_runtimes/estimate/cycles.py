"""Cycles of counted blocks on one core, by llvm-mca's model of its pipes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgevit_runtimes.cores import Core
from edgevit_runtimes.errors import RunFailed, reason
from edgevit_runtimes.estimate.assembly import TRIPLE, disassemble, llvm, priced
from edgevit_runtimes.estimate.counts import Block, Counts

COVERED = 0.995  # of the executed instructions; the rest costs what these cost on average
ITERATIONS = 100  # a block is priced as if it followed itself


@dataclass(frozen=True, slots=True)
class PricedBlock:
    """A block with the cycles that all its executions take together, an estimate."""

    block: Block
    cycles: float


@dataclass(frozen=True, slots=True)
class Cycles:
    """An estimate of computing alone: every load hits the first cache, every branch is foreseen."""

    total: float
    blocks: tuple[PricedBlock, ...]  # those that were priced, the costliest first


def estimate_cycles(counts: Counts, core: Core) -> Cycles:
    """Price the blocks that make up nearly all of the executed instructions.

    Raises `MissingRuntime` without LLVM, `RunFailed` where its model cannot price the code.
    """
    chosen = _most_executed(counts)
    texts = disassemble(code for block in chosen for code in block.opcodes)
    each = _block_cycles(chosen, texts, core)
    prices = [
        PricedBlock(block, block.executions * cycles)
        for block, cycles in zip(chosen, each, strict=True)
    ]
    covered = sum(block.instructions for block in chosen)
    total = sum(price.cycles for price in prices) * counts.instructions / covered
    return Cycles(total, tuple(sorted(prices, key=lambda price: -price.cycles)))


def _most_executed(counts: Counts) -> list[Block]:
    needed = COVERED * counts.instructions
    chosen, covered = [], 0
    for block in counts.blocks:
        if covered >= needed:
            break
        chosen.append(block)
        covered += block.instructions
    return chosen


def _block_cycles(blocks: Sequence[Block], texts: Mapping[int, str], core: Core) -> list[float]:
    """Cycles of one execution of each block."""
    lines = []
    for place, block in enumerate(blocks):
        lines.append(f"# LLVM-MCA-BEGIN {place}")
        for code in block.opcodes:
            lines += priced(texts.get(code, "nop"))
        lines.append(f"# LLVM-MCA-END {place}")
    done = llvm(
        "llvm-mca",
        [
            *(f"-mtriple={TRIPLE}", f"-mcpu={core.model}", "-mattr=+all"),
            # The models have no price for atomic additions, which thread pools do now and then.
            *("-json", f"-iterations={ITERATIONS}", "-skip-unsupported-instructions=lack-sched"),
            "-",
        ],
        "\n".join(lines) + "\n",
    )
    try:
        regions = json.loads(done.stdout)["CodeRegions"]
        cycles = {
            int(region["Name"]): region["SummaryView"]["TotalCycles"] / ITERATIONS
            for region in regions
        }
        return [cycles[place] for place in range(len(blocks))]
    except (ValueError, KeyError, TypeError):
        why = reason(RuntimeError(done.stderr))
        raise RunFailed(f"llvm-mca could not price the code for {core.name}: {why}.") from None
