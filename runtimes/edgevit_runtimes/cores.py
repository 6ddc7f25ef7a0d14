"""The ARM cores that can be emulated and estimated."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Core:
    """One core: how it is emulated, what it shows to libraries, and what it is estimated with.

    Peaks are multiply-adds a cycle, from the widths and pipes of Arm's software optimization
    guides: two 128-bit vector pipes, on X1 four; sdot does four int8 products a lane.
    """

    name: str
    part: int  # the CPU part of Arm's list, by which XNNPACK chooses its kernels
    emulated_as: str  # QEMU's name of the nearest core that it has
    model: str  # LLVM's scheduling model
    clock_ghz: float  # of a known device, for milliseconds
    device: str
    peak_fp32: int
    peak_fp16: int
    peak_int8: int
    level1_kib: int = 64
    level2_kib: int = 512
    level3_kib: int = 4096


DEFAULT_CORE = "cortex-a77"

# QEMU 7.2 has no core newer than A76 and N1, and its `max` makes libraries choose SME kernels.
CORES: Mapping[str, Core] = MappingProxyType(
    {
        core.name: core
        for core in (
            Core(
                "cortex-a76", 0xD0B, "cortex-a76", "neoverse-n1", 2.84, "Snapdragon 855", 8, 16, 32
            ),
            Core(
                "cortex-a77", 0xD0D, "cortex-a76", "neoverse-n1", 2.84, "Snapdragon 865", 8, 16, 32
            ),
            Core(
                "neoverse-n1", 0xD0C, "neoverse-n1", "neoverse-n1", 2.5, "Graviton 2", 8, 16, 32,
                level2_kib=1024, level3_kib=32768,
            ),
            Core(
                "cortex-a710", 0xD47, "cortex-a76", "neoverse-n2", 2.5, "Snapdragon 8 Gen 1",
                8, 16, 32,
            ),
            Core(
                "cortex-x1", 0xD44, "cortex-a76", "neoverse-v1", 2.84, "Snapdragon 888",
                16, 32, 64, level2_kib=1024,
            ),
        )
    }
)  # fmt: skip
