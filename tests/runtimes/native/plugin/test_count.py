"""Instructions counted exactly: hand-written loops under the emulator."""

import subprocess
from pathlib import Path

import pytest

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.estimate.counts import read_counts
from tests.support.native import count, need
from tests.support.once import Shared

MARKS = """
.global _start
.type _start, %function
_start:
    mov x0, #1
    bl mark
{body}
    mov x0, #2
    bl mark
    mov x8, #93
    mov x0, #0
    svc #0
.size _start, . - _start
mark:
    mov x8, #0x5eed
    svc #0
    ret
"""
LOOP = """
    mov x1, #{times}
1:  subs x1, x1, #1
    b.ne 1b
"""


def counted(shared: Shared, folder: Path, assembly: str, caches: str = "") -> Path:
    """Assemble a program of no library, run it, and return the plugin's file."""
    need("aarch64-linux-gnu-gcc", "qemu-aarch64")
    source, program, counts = folder / "loop.s", folder / "loop", folder / "counts"
    source.write_text(assembly)
    subprocess.run(
        ["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-o", program, source], check=True
    )
    done = count(shared, counts, program, more=f",caches={caches}" if caches else "")
    assert done.returncode == 0, done.stderr
    return counts


@pytest.mark.parametrize("times", [1, 1000, 65535])
def test_counts_are_exact(shared: Shared, tmp_path: Path, times: int) -> None:
    file = counted(shared, tmp_path, MARKS.format(body=LOOP.format(times=times)))
    counts = read_counts(file)
    # The return from the first mark, the move, the loop, and the call of the second.
    assert counts.instructions == 1 + 1 + 2 * times + 2 + 2
    assert counts.regions == 1
    if times > 1:
        assert counts.blocks[0].executions == times - 1  # the first turn came with the move
        assert counts.blocks[0].symbol == "_start"


def test_regions_add_up_and_what_is_between_them_is_left_out(
    shared: Shared, tmp_path: Path
) -> None:
    region = LOOP.format(times=10)
    between = (
        "    mov x0, #2\n    bl mark\n" + LOOP.format(times=5000) + "    mov x0, #1\n    bl mark\n"
    )
    counts = read_counts(counted(shared, tmp_path, MARKS.format(body=region + between + region)))
    assert counts.regions == 2
    assert counts.instructions == 2 * (1 + 1 + 20 + 2 + 2)


def test_twice_gives_the_same_file(shared: Shared, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assembly = MARKS.format(body=LOOP.format(times=77))
        files.append(counted(shared, tmp_path / name, assembly).read_text())
    assert files[0] == files[1]


def test_a_program_without_marks_is_said_to_have_none(shared: Shared, tmp_path: Path) -> None:
    file = counted(shared, tmp_path, MARKS.replace("0x5eed", "0x5eee").format(body=""))
    with pytest.raises(RunFailed, match="did not mark"):
        read_counts(file)


STREAM = """
    adrp x2, buffer
    add x2, x2, :lo12:buffer
    mov x1, #{lines}
1:  ldr x3, [x2], #64
    subs x1, x1, #1
    b.ne 1b
"""


@pytest.mark.parametrize(
    ("kib", "asked"),
    [
        (32, (0, 0, 0)),  # warm in the first cache
        (256, (4096, 0, 0)),  # too large for it: least recently used means every line is gone
        (1024, (16384, 16384, 0)),
        (8192, (131072, 131072, 131072)),
    ],
)
def test_caches_are_modelled(
    shared: Shared, tmp_path: Path, kib: int, asked: tuple[int, int, int]
) -> None:
    stream = STREAM.format(lines=kib * 16)
    warm = (
        MARKS.replace("_start:\n", f"_start:\n{stream}")
        + f".bss\n.align 12\nbuffer: .skip {kib * 1024}\n"
    )
    file = counted(shared, tmp_path, warm.format(body=stream), caches="64:512:4096")
    traffic = read_counts(file).traffic
    assert traffic is not None
    assert traffic.accesses == kib * 16
    assert traffic.asked == asked
    assert traffic.written == (0, 0, 0)


def test_what_was_stored_is_written_back(shared: Shared, tmp_path: Path) -> None:
    stream = STREAM.format(lines=4096).replace("ldr x3", "str x3")
    assembly = MARKS + ".bss\n.align 12\nbuffer: .skip 262144\n"
    traffic = read_counts(
        counted(shared, tmp_path, assembly.format(body=stream * 2), caches="64:512:4096")
    ).traffic
    assert traffic is not None
    # Twice 4096 lines, of which 1024 stay in the first cache.
    assert traffic.asked[0] == 8192
    assert traffic.written[0] == 8192 - 1024


@pytest.mark.parametrize("word", ["caches=64", "caches=0:1:1", "caches=9999999:1:1", "size=3"])
def test_the_plugin_refuses_what_it_does_not_know(
    shared: Shared, tmp_path: Path, word: str
) -> None:
    need("qemu-aarch64")
    done = count(shared, tmp_path / "counts", "/bin/true", more=f",{word}")
    assert done.returncode != 0
    assert f"does not know {word}" in done.stderr
