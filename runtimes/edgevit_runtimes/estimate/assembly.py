"""Opcodes as assembly text, by llvm-mc, in the form that llvm-mca prices well."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from edgevit_runtimes.errors import DeviceFailed, MissingRuntime, reason

LLVM = "19"  # 14 has no model of A76 and later
TRIPLE = "aarch64-linux-gnu"
SECONDS = 300.0
INSTALL = f"apt-get install llvm-{LLVM}"
UNKNOWN = re.compile(r"^<stdin>:([0-9]+):", re.MULTILINE)

CALL = re.compile(r"bl(r?)\t(.*)")
POST = re.compile(r"(st\S+\s.*), \[(\w+)\], (#?-?\w+)")
PRE = re.compile(r"(st\S+\s.*), \[(\w+), (#-?\w+)\]!")


def llvm(tool: str, arguments: Sequence[str], text: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of LLVM on standard input.

    Raises `MissingRuntime` with the install line, `DeviceFailed` where it does not end.
    """
    program = shutil.which(f"{tool}-{LLVM}")
    if program is None:
        raise MissingRuntime(
            f"{tool}-{LLVM}, which estimates need, is not installed.", next=INSTALL
        )
    try:
        return subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceFailed(f"{tool}-{LLVM} did not finish: {reason(error)}.") from None


def disassemble(opcodes: Iterable[int]) -> dict[int, str]:
    """The text of each opcode; one that LLVM does not know is left out."""
    unique = sorted(set(opcodes))
    lines = [" ".join(f"0x{byte:02x}" for byte in code.to_bytes(4, "little")) for code in unique]
    done = llvm(
        "llvm-mc", ["--disassemble", f"-triple={TRIPLE}", "-mattr=+all"], "\n".join(lines) + "\n"
    )
    unknown = {int(line) - 1 for line in UNKNOWN.findall(done.stderr)}
    known = [code for place, code in enumerate(unique) if place not in unknown]
    texts = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    texts = [text for text in texts if not text.startswith(".")]
    if len(texts) != len(known):
        raise DeviceFailed(f"llvm-mc-{LLVM} read {len(texts)} of {len(known)} instructions.")
    return dict(zip(known, texts, strict=True))


def priced(text: str) -> tuple[str, ...]:
    """The instruction as llvm-mca is to see it.

    A store that also moves its base becomes a store and an addition: the model makes the moved
    base wait for the stored data, which no core does. A call becomes a jump: llvm-mca takes 100
    cycles for what is called, which is priced by itself.
    """
    if found := CALL.fullmatch(text):
        return (f"b{found[1]}\t{found[2]}",)
    if found := POST.fullmatch(text):
        store, base, step = found.groups()
        return f"{store}, [{base}]", f"add {base}, {base}, {step}"
    if found := PRE.fullmatch(text):
        store, base, step = found.groups()
        return f"add {base}, {base}, {step}", f"{store}, [{base}]"
    return (text,)
