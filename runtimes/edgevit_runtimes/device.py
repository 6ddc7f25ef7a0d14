"""Where a file is measured, and what is known of this machine."""

import os
import platform
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.errors import BadSetting, UnknownDevice

Fact = TypeVar("Fact")
Kind = Literal["local", "adb", "ssh", "emulated"]

GRAMMAR = "local, adb[:SERIAL], ssh:USER@HOST, emulated:CORE"

# No address may start with a dash: it ends up on the command line of adb or ssh.
SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9._:-]*")

# CPU features that decide which kernels a runtime takes, as /proc/cpuinfo spells them.
FLAGS = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni",
    "avx512_bf16", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip

HALF = "asimdhp"  # arithmetic on halves, of ARMv8.2

CPU0 = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True, slots=True)
class Device:
    """Somewhere to run a file: its kind, and the serial, USER@HOST or core that the user named."""

    kind: Kind
    address: str | None = None

    def __str__(self) -> str:
        return self.kind if self.address is None else f"{self.kind}:{self.address}"


def parse_device(text: str) -> Device:
    """A device from `local`, `adb[:SERIAL]`, `ssh:USER@HOST` or `emulated:CORE`.

    Raises `UnknownDevice` for anything else.
    """
    kind, colon, address = text.partition(":")
    match kind:
        case "local" if not colon:
            return Device("local")
        case "adb" if not colon:
            return Device("adb")
        case "adb" if SERIAL.fullmatch(address):
            return Device("adb", address)
        case "ssh" if HOST.fullmatch(address):
            return Device("ssh", address)
        case "emulated" if address in CORES:
            return Device("emulated", address)
        case "emulated":
            raise UnknownDevice(
                f"There is no core {address!r} to emulate; there are {', '.join(CORES)}."
            )
        case _:
            raise UnknownDevice(f"There is no device {text!r}; a device is one of {GRAMMAR}.")


def usable_cores() -> int:
    """Logical cores this process may run on; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def check_threads(count: int, cores: int | None = None) -> None:
    """Raise `BadSetting` unless the count is 1 to `cores` (default: this process's cores).

    A runtime starts any number of threads, and then nothing can stop it.
    """
    most = usable_cores() if cores is None else cores
    if not 1 <= count <= most:
        raise BadSetting(
            f"This machine runs 1 to {most} threads at once, not {count}.",
            next=f"--threads {min(max(count, 1), most)}",
        )


def machine_facts() -> dict[str, object]:
    """What a reader of a measurement wants to know of this machine; JSON values only.

    Keys: cpu, cpu_flags (of those that choose kernels), logical_cores, usable_cores, governor,
    frequency_mhz (of the first core, now), os, machine, python, load_average (1, 5, 15 minutes),
    memory_bytes. A fact that cannot be read is None. Never raises.
    """
    readers: dict[str, Callable[[], object]] = {
        "cpu": _cpu_model,
        "cpu_flags": _cpu_flags,
        "logical_cores": os.cpu_count,
        "usable_cores": usable_cores,
        "governor": lambda: (CPU0 / "scaling_governor").read_text().strip(),
        "frequency_mhz": _frequency_mhz,
        "os": platform.platform,
        "machine": platform.machine,
        "python": platform.python_version,
        "load_average": lambda: [round(load, 2) for load in os.getloadavg()],
        "memory_bytes": lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    return {name: _or_none(read) for name, read in readers.items()}


def local_half() -> bool:
    """Whether LiteRT and XNNPACK compute in halves here: on ARM with ARMv8.2's FP16."""
    if platform.machine() not in ("aarch64", "arm64"):
        return False
    return platform.system() == "Darwin" or HALF in (_or_none(_cpu_flags) or ())


def _or_none(read: Callable[[], Fact]) -> Fact | None:
    try:
        return read()
    except (
        Exception
    ):  # each fact comes from another corner of another system; none may stop a bench
        return None


def _cpuinfo() -> dict[str, str]:
    """The first core's fields of /proc/cpuinfo, names in lower case."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return fields


def _cpu_model() -> str | None:
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string")
    fields = _cpuinfo()
    board = Path("/proc/device-tree/model")
    if "model name" in fields:
        return fields["model name"]
    if board.is_file():
        return board.read_text(errors="replace").rstrip("\0\n")
    if "cpu part" in fields:  # a bare ARM kernel tells only the numbers of Arm's part list
        return f"implementer {fields.get('cpu implementer', '?')} part {fields['cpu part']}"
    return platform.processor() or None


def _cpu_flags() -> list[str] | None:
    if platform.system() == "Darwin":
        present = _sysctl("machdep.cpu.features") or ""
        return [flag for flag in FLAGS if flag.replace("_", ".").upper() in present.split()]
    fields = _cpuinfo()
    present_set = set(fields.get("flags", fields.get("features", "")).split())
    return [flag for flag in FLAGS if flag in present_set]


def _frequency_mhz() -> float:
    scaling = CPU0 / "scaling_cur_freq"  # kHz
    if scaling.is_file():
        return int(scaling.read_text()) / 1000
    return float(_cpuinfo()["cpu mhz"])


def _sysctl(name: str) -> str | None:
    done = subprocess.run(
        ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
    )
    return done.stdout.strip() or None
