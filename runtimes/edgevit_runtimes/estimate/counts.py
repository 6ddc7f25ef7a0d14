"""Reads what the counting plugin wrote (runtimes/native/plugin/count.c)."""

import re
from dataclasses import dataclass
from pathlib import Path

from edgevit_runtimes.errors import RunFailed

HEAD = "edgevit-count 1"
LINE = re.compile(r"([0-9a-f]{1,16}) ([0-9]{1,19}) ((?:[0-9a-f]{8}){1,1024}) (\S+)")
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
class Counts:
    """What was executed between the marks, the blocks with the most instructions first."""

    blocks: tuple[Block, ...]
    regions: int

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
    for line in lines[1:-1]:
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
    counts = Counts(tuple(blocks), int(end[1]))
    if counts.instructions != int(end[2]):
        raise RunFailed("The instruction counts do not add up to their own sum.")
    if not counts.regions:
        raise RunFailed("Nothing was counted: the program did not mark what is to be measured.")
    return counts
