import json

import pytest

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.estimate.counts import Block, Counts, Traffic
from edgevit_runtimes.estimate.latency import bound_cycles, estimate, kinds, memory_cycles
from tests.support.native import need

A77 = CORES["cortex-a77"]
LOOP = Block(0x1000, 1_000_000, (0x4E22CC20, 0xF1000421, 0x54FFFFC1), "kernel")


def test_memory_is_the_slowest_of_the_levels() -> None:
    assert memory_cycles(Traffic(0, (1000, 0, 0), (0, 0, 0)), A77) == 1000 * 64 / 32
    assert memory_cycles(Traffic(0, (1000, 900, 0), (0, 100, 0)), A77) == 1000 * 64 / 16
    # 64 bytes at 15 GB/s, in cycles of 2.84 GHz
    far = memory_cycles(Traffic(0, (1000, 1000, 500), (0, 0, 500)), A77)
    assert far == pytest.approx(1000 * 64 / 15e9 * 2.84e9)


def test_an_interval_from_both_hidden_to_neither() -> None:
    need("llvm-mc-19", "llvm-mca-19")
    traffic = Traffic(0, (0, 0, 10_000), (0, 0, 0))
    priced = estimate(Counts((LOOP,), 1, traffic), A77)
    memory = memory_cycles(traffic, A77)
    assert priced.compute_cycles > memory
    interval = priced.interval_ms
    assert interval is not None
    assert interval[0] == priced.compute_ms == priced.compute_cycles / 2.84e6
    assert interval[1] == pytest.approx((priced.compute_cycles + memory) / 2.84e6)
    told = json.loads(json.dumps(priced.to_json()))
    assert told["what"] == "an estimate, not a measurement"
    assert told["model"].startswith("llvm-mca 19")
    assert told["hottest"][0]["symbol"] == "kernel"
    assert sum(hot["share"] for hot in told["hottest"]) == pytest.approx(1)
    assert kinds(Counts((LOOP,), 1))["vector float"] == 1_000_000
    assert told["multiply_adds"] == {"fp32": 4_000_000, "fp16": 0, "int8": 0}
    assert told["bound_ms"] == 4_000_000 / 8 / 2.84e6
    assert told["bound_ms"] < told["compute_ms"]


def test_the_bound_is_of_all_types_on_the_same_pipes() -> None:
    macs = {"fp32": 800, "fp16": 1600, "int8": 3200}
    assert bound_cycles(macs, A77) == 300
    assert bound_cycles(macs, CORES["cortex-x1"]) == 150


def test_without_modelled_caches_there_is_no_interval() -> None:
    need("llvm-mc-19", "llvm-mca-19")
    priced = estimate(Counts((LOOP,), 1), A77)
    assert priced.interval_ms is None
    assert priced.to_json()["memory_cycles"] is None
