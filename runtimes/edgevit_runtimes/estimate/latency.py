"""An interval of milliseconds for counted instructions on one core: an estimate, never a
measurement.

    compute = cycles of the executed blocks, by llvm-mca's model of the core's pipes
    memory  = the slowest of what moved between the levels of modelled caches, by assumed bandwidths
    at least max(compute, memory): all of the one is hidden behind the other
    at most compute + memory: nothing is
    bound = the executed multiply-adds at the core's peak: no order of them could take less

What is not in it: branch misses, prefetching, address translation, the clock that a warm phone
really has, and everything outside of the counted region.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgevit_runtimes.cores import Core
from edgevit_runtimes.estimate.assembly import LLVM, disassemble, llvm
from edgevit_runtimes.estimate.counts import Counts, Traffic
from edgevit_runtimes.estimate.cycles import PricedBlock, estimate_cycles
from edgevit_runtimes.estimate.kinds import by_kind, multiply_adds
from edgevit_runtimes.estimate.symbols import Names

LINE_BYTES = 64
# Bytes a cycle from L2 and L3, as Arm's cores of these years move them, and gigabytes a second from
# the memory of a phone, of which one core gets 10 to 20.
L2_BYTES, L3_BYTES, MEMORY_GBS = 32, 16, 15.0
HOTTEST = 20  # blocks that are named


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one run would take on a core; cycles, and milliseconds at its clock."""

    core: Core
    compute_cycles: float
    memory_cycles: float | None  # None: caches were not modelled
    tool: str
    hottest: tuple[PricedBlock, ...]
    multiply_adds: Mapping[str, int]  # executed, by type; also those that a kernel wastes
    names: Names | None = None

    @property
    def bound_ms(self) -> float:
        """The multiply-adds alone, at the core's peak."""
        return self._ms(bound_cycles(self.multiply_adds, self.core))

    @property
    def compute_ms(self) -> float:
        """Computing alone."""
        return self._ms(self.compute_cycles)

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """At least and at most, with the memory."""
        if self.memory_cycles is None:
            return None
        least = max(self.compute_cycles, self.memory_cycles)
        return self._ms(least), self._ms(self.compute_cycles + self.memory_cycles)

    def _ms(self, cycles: float) -> float:
        return cycles / (self.core.clock_ghz * 1e6)

    def to_json(self) -> dict[str, object]:
        """JSON values only."""
        return {
            "what": "an estimate, not a measurement",
            "core": self.core.name,
            "clock_ghz": self.core.clock_ghz,
            "model": f"{self.tool}, {self.core.model}",
            "compute_cycles": round(self.compute_cycles),
            "memory_cycles": None if self.memory_cycles is None else round(self.memory_cycles),
            "compute_ms": self.compute_ms,
            "interval_ms": None if self.interval_ms is None else list(self.interval_ms),
            "multiply_adds": dict(self.multiply_adds),
            "bound_ms": self.bound_ms,
            "hottest": [self._named(price) for price in self.hottest],
        }

    def _named(self, price: PricedBlock) -> dict[str, object]:
        block = price.block
        library, symbol = (None, None) if self.names is None else self.names.at(block.address)
        return {
            "library": library,
            "symbol": symbol or block.symbol,
            "address": f"0x{block.address:x}",
            "instructions": len(block.opcodes),
            "executions": block.executions,
            "share": price.cycles / self.compute_cycles,
        }


def estimate(counts: Counts, core: Core, names: Names | None = None) -> Estimate:
    """Estimate one run; raises `MissingRuntime` without LLVM, `RunFailed` where it cannot price."""
    cycles = estimate_cycles(counts, core)
    memory = None if counts.traffic is None else memory_cycles(counts.traffic, core)
    hottest = cycles.blocks[:HOTTEST]
    texts = disassemble(code for block in counts.blocks for code in block.opcodes)
    macs = multiply_adds(counts, texts)
    return Estimate(core, cycles.total, memory, llvm_version(), hottest, macs, names)


def bound_cycles(macs: Mapping[str, int], core: Core) -> float:
    """The fewest cycles of these multiply-adds: all types share the same pipes."""
    peaks = {"fp32": core.peak_fp32, "fp16": core.peak_fp16, "int8": core.peak_int8}
    return sum(number / peaks[kind] for kind, number in macs.items())


def memory_cycles(traffic: Traffic, core: Core) -> float:
    """The slowest level: lines are on their way through all of them at once."""
    first, second, third = (lines * LINE_BYTES for lines in traffic.lines)
    return max(
        first / L2_BYTES, second / L3_BYTES, third / (MEMORY_GBS * 1e9) * core.clock_ghz * 1e9
    )


def kinds(counts: Counts) -> dict[str, int]:
    """Executed instructions by kind; raises `MissingRuntime` without LLVM."""
    return by_kind(counts, disassemble(c for block in counts.blocks for c in block.opcodes))


def llvm_version() -> str:
    """The tool that priced, such as "llvm-mca 19.1.7"."""
    said = llvm("llvm-mca", ["--version"], "").stdout
    found = re.search(r"version (\d[\w.]*)", said)
    return f"llvm-mca {found[1] if found else LLVM}"
