"""Reads what the counting plugin wrote (runtimes/native/plugin/count.c)."""

import re
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.errors import RunFailed

HEAD = "edgevit-count 1"
LINE = re.compile(r"([0-9a-f]{1,16}) ([0-9]{1,19}) ((?:[0-9a-f]{8}){1,1024}) (\S+)")
CACHES = re.compile(r"caches" + r" ([0-9]{1,19})" * 7)
END = re.compile(r"end ([0-9]{1,19}) ([0-9]{1,19})")
MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class Block:
    """A run of instructions that is entered at its start, and how often it was."""

    address: int
    executions: int
    opcodes: tuple[int, ...]
    symbol: str | None

    @property
    def instructions(self) -> int:
        """Executed in this block."""
        return self.executions * len(self.opcodes)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What modelled caches asked for and wrote back, in lines of 64 bytes; one number a level."""

    accesses: int
    asked: tuple[int, int, int]  # of the level below: of L2, of L3, of the memory
    written: tuple[int, int, int]

    @property
    def lines(self) -> tuple[int, int, int]:
        """Moved between L1 and L2, L2 and L3, L3 and the memory."""
        first, second, third = (a + w for a, w in zip(self.asked, self.written, strict=True))
        return first, second, third


@dataclass(frozen=True, slots=True)
class Counts:
    """What was executed between the marks, the blocks with the most instructions first."""

    blocks: tuple[Block, ...]
    regions: int
    traffic: Traffic | None = None

    @property
    def instructions(self) -> int:
        """Executed in all blocks."""
        return sum(block.instructions for block in self.blocks)


def read_counts(path: Path) -> Counts:
    """Read the plugin's file; raises `RunFailed` where it is missing, broken off or not one.

    A program that ends before its first mark leaves a file without a region: `RunFailed`, too.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RunFailed(f"The instruction counts have more than {MOST_BYTES} bytes.")
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise RunFailed(f"There are no instruction counts ({error.strerror}).") from None
    end = END.fullmatch(lines[-1]) if lines else None
    if end is None or lines[0] != HEAD:
        raise RunFailed("The instruction counts are broken off: the emulator did not end normally.")
    blocks = []
    traffic = None
    for line in lines[1:-1]:
        if (told := CACHES.fullmatch(line)) and traffic is None:
            accesses, a1, w1, a2, w2, a3, w3 = map(int, told.groups())
            traffic = Traffic(accesses, (a1, a2, a3), (w1, w2, w3))
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise RunFailed("The instruction counts hold a line that is none.")
        address, executions, opcodes, symbol = found.groups()
        blocks.append(
            Block(
                int(address, 16),
                int(executions),
                tuple(int(opcodes[i : i + 8], 16) for i in range(0, len(opcodes), 8)),
                None if symbol == "-" else symbol,
            )
        )
    blocks.sort(key=lambda block: (-block.instructions, block.address, block.opcodes))
    counts = Counts(tuple(blocks), int(end[1]), traffic)
    if counts.instructions != int(end[2]):
        raise RunFailed("The instruction counts do not add up to their own sum.")
    if not counts.regions:
        raise RunFailed("Nothing was counted: the program did not mark what is to be measured.")
    return counts
