"""Makes what emulated ARM devices need: a small sysroot, the runtimes' ARM libraries, our programs.

Nothing of the system is changed. The emulator and the compiler are Debian's packages; the runtimes
are the published ARM wheels, of which only the shared libraries are taken, by hash.
"""

import functools
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal

from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.setup.kept import Kept, Marker, Report, last, run

COMMAND = "edgevit device setup emulated"
HOME = "EDGEVIT_EMULATED_HOME"  # names the directory itself
LAYOUT = 2  # raised when what lies in the directory changes
TRIPLE = "aarch64-linux-gnu"
EMULATOR = "qemu-aarch64"
TOOLS: Mapping[str, str] = MappingProxyType(  # program -> Debian's package
    {
        EMULATOR: "qemu-user",
        f"{TRIPLE}-gcc": f"gcc-{TRIPLE}",
        f"{TRIPLE}-g++": f"g++-{TRIPLE}",
        "cmake": "cmake",
        "cc": "gcc",
        "setarch": "util-linux",
    }
)
DOWNLOAD_SECS, BUILD_SECS, CHECK_SECS = 1800.0, 900.0, 120.0
MOST_LIBRARY_BYTES = 1 << 27

# What a program for ARM loads, from the cross compiler's own C library.
SYSROOT = (
    *("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1"),
    *("libpthread.so.0", "libgcc_s.so.1", "libstdc++.so.6"),
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A published wheel for ARM: its hash, and the members that are taken out of it."""

    engine: str
    package: str
    version: str
    sha256: str
    megabytes: int
    members: Mapping[str, str]  # in the wheel -> below the directory; a folder ends with a slash


WHEELS: tuple[Wheel, ...] = (
    Wheel(
        "onnxruntime", "onnxruntime", "1.31.1",
        "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3", 21,
        {"onnxruntime/capi/libonnxruntime.so.1.31.1": "lib/libonnxruntime.so.1"},
    ),
    Wheel(
        "litert", "ai-edge-litert", "2.3.0",
        "853fc608f96da87bd5f3458465dfb9abbf18d5ae6b94eceacead407146f175ae", 14,
        {"ai_edge_litert/libLiteRt.so": "lib/libLiteRt.so"},
    ),
    Wheel(
        "executorch", "executorch", "1.5.1",
        "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a", 18,
        {
            **{
                f"executorch/lib/libexecutorch{part}.so": f"lib/libexecutorch{part}.so"
                for part in (
                    "", "_threadpool", "_backend_xnnpack", "_kernels_optimized",
                    "_kernels_quantized",
                )
            },
            "executorch/include/": "include/",
        },
    ),
)  # fmt: skip

# Features of ARMv8.2 with dot products and half-precision arithmetic, as /proc/cpuinfo spells them.
FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp"
)


def _complete(place: Path, marker: Marker) -> bool:
    return marker.get("layout") == LAYOUT and marker.get("packages") == packages()


def packages() -> dict[str, str]:
    """The ARM packages by name, with their versions."""
    return {wheel.package: wheel.version for wheel in WHEELS}


KEPT = Kept(
    name=f"emulated-{LAYOUT}",
    what="the emulated environment",
    subject="ARM libraries",
    command=COMMAND,
    variable=HOME,
    complete=_complete,
)


@dataclass(frozen=True, slots=True)
class Emulated:
    """A whole environment for emulated cores."""

    path: Path

    def program(self, engine: str) -> Path:
        """The runner of a runtime, for ARM."""
        return self.path / "bin" / f"edgevit-run-{engine}"

    def library(self, engine: str) -> Path | None:
        """The library that the runner loads; None where it is linked to it."""
        names = {"onnxruntime": "libonnxruntime.so.1", "litert": "libLiteRt.so"}
        return self.path / "lib" / names[engine] if engine in names else None

    @property
    def files(self) -> dict[str, Path]:
        """Every program and library for ARM, by its name."""
        folders = (self.path / "sysroot" / "lib", self.path / "lib", self.path / "bin")
        return {path.name: path for folder in folders for path in folder.iterdir()}

    @property
    def plugin(self) -> Path:
        """The counting plugin of the emulator, for this machine."""
        return self.path / "bin" / "libedgevit_count.so"

    def sysroot(self, core: Core) -> Path:
        """The file system that a program on this core sees first."""
        return self.path / "cores" / core.name

    def command(self, core: Core, program: Path, *words: str | Path) -> list[str]:
        """Run a program for ARM on this core: same addresses and random numbers every time."""
        return [
            *("setarch", "-R", EMULATOR, "-seed", "1", "-cpu", core.emulated_as),
            *("-L", str(self.sysroot(core)), "-E", f"LD_LIBRARY_PATH={self.path / 'lib'}"),
            str(program),
            *map(str, words),
        ]


def find_emulated() -> Emulated | None:
    """The environment if it is complete, else None; starts nothing."""
    place = KEPT.find()
    return None if place is None else Emulated(place)


def require_emulated() -> Emulated:
    """The environment; raises `MissingRuntime` with the command that makes it, or the package."""
    check_tools((EMULATOR, "setarch"))
    environment = find_emulated()
    if environment is None:
        broken = KEPT.look(KEPT.home()) == "broken"
        raise MissingRuntime(
            "The environment for emulated devices "
            + ("no longer works." if broken else "is not set up."),
            next=f"{COMMAND} --force" if broken else COMMAND,
        )
    return environment


def check_tools(tools: Sequence[str] = tuple(TOOLS)) -> None:
    """Raise `MissingRuntime` with one install line for what is missing, or an emulator that takes
    no plugins.
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        line = "apt-get install " + " ".join(dict.fromkeys(TOOLS[tool] for tool in missing))
        raise MissingRuntime(
            f"Emulated devices need {', '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not installed.",
            next=f"Debian: {line}",
        )
    said = run([EMULATOR, "-help"], CHECK_SECS, COMMAND).stdout
    if "-plugin" not in said:
        raise MissingRuntime(
            f"The {EMULATOR} here takes no plugins, so that nothing can be counted (a static build"
            " does not).",
            next="Debian 12: apt-get install qemu-user",
        )


def plan_emulated() -> str:
    """One line on what `setup_emulated` would download, and where to; raises as it does."""
    names = ", ".join(f"{wheel.package} {wheel.version}" for wheel in WHEELS)
    megabytes = sum(wheel.megabytes for wheel in WHEELS)
    return (
        f"downloading the ARM wheels of {names} ({megabytes} MB) with pip, building the native"
        f" runner: {KEPT.home()}"
    )


def setup_emulated(
    force: bool = False, report: Report = lambda _: None
) -> tuple[Emulated, Literal["made", "found"]]:
    """Make the environment, or find it made; `force` makes it again. `report` is told each step.

    Raises `MissingRuntime` with the install line for missing tools, `DeviceFailed` where a step
    fails, `BadSetting` where something else is at its place; then nothing is left.
    """

    def prepare() -> Callable[[Path], Marker]:
        check_tools()
        return functools.partial(_fill, report)

    place, state = KEPT.make(prepare, force)
    return Emulated(place), state


def _fill(report: Report, partial: Path) -> Marker:
    report("copy the C library of the cross compiler")
    copy_sysroot(partial)
    report("download the ARM wheels")
    wheels = partial / "wheels"
    download(wheels)
    report("take the libraries out")
    for wheel in WHEELS:
        unpack(wheel, wheels, partial)
    shutil.rmtree(wheels)
    report("build the runner and the plugin")
    build(partial)
    shutil.rmtree(partial / "include")
    report("run each runtime on an emulated core")
    check(Emulated(partial))
    return {"layout": LAYOUT, "packages": packages(), "emulator": emulator_version()}


def emulator_version() -> str:
    """What the emulator says of itself."""
    said = run([EMULATOR, "--version"], CHECK_SECS, COMMAND).stdout.splitlines()
    return said[0].strip() if said else "unknown"


def copy_sysroot(place: Path) -> None:
    """The few libraries of the cross compiler that a program loads, and a cpuinfo a core."""
    root = place / "sysroot" / "lib"
    root.mkdir(parents=True)
    for name in SYSROOT:
        said = run([f"{TRIPLE}-gcc", f"-print-file-name={name}"], CHECK_SECS, COMMAND)
        found = Path(said.stdout.strip())
        if not found.is_absolute() or not found.is_file():
            raise MissingRuntime(
                f"The cross compiler has no {name} to run programs with.",
                next=f"Debian: apt-get install g++-{TRIPLE}",
            )
        shutil.copyfile(found.resolve(), root / name)
    (root / "ld-linux-aarch64.so.1").chmod(0o755)
    for core in CORES.values():
        own = place / "cores" / core.name
        (own / "proc").mkdir(parents=True)
        (own / "lib").symlink_to("../../sysroot/lib")
        (own / "proc" / "cpuinfo").write_text(cpuinfo(core), encoding="ascii")
        for name, text in sysfs(core).items():
            file = own / "sys" / "devices" / "system" / "cpu" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}\n", encoding="ascii")


def cpuinfo(core: Core) -> str:
    """/proc/cpuinfo of one core: libraries choose their kernels by it.

    The emulator would show this machine's own, on which XNNPACK and ONNX Runtime end with an error.
    """
    lines = (
        ("processor", "0"),
        ("BogoMIPS", "38.40"),
        ("Features", FEATURES),
        ("CPU implementer", "0x41"),
        ("CPU architecture", "8"),
        ("CPU variant", "0x1"),
        ("CPU part", f"0x{core.part:03x}"),
        ("CPU revision", "0"),
    )
    return "".join(f"{name}\t: {value}\n" for name, value in lines) + "\n"


def sysfs(core: Core) -> dict[str, str]:
    """What libraries read below /sys/devices/system/cpu: one core, its caches and its clock.

    This machine's own would make counts differ from machine to machine, and where it has another
    number of cores than cpuinfo says, XNNPACK ends with a segmentation fault.
    """
    kilohertz = str(round(core.clock_ghz * 1e6))
    caches = {"index0": (1, core.level1_kib), "index2": (2, core.level2_kib)}
    caches["index3"] = (3, core.level3_kib)
    files = {"possible": "0", "present": "0", "online": "0", "kernel_max": "0"}
    files |= {
        "cpu0/cpufreq/cpuinfo_max_freq": kilohertz,
        "cpu0/cpufreq/cpuinfo_min_freq": kilohertz,
    }
    for name in ("physical_package_id", "core_siblings_list", "cluster_cpus_list"):
        files[f"cpu0/topology/{name}"] = "0"
    for index, (level, kib) in caches.items():
        files |= {
            f"cpu0/cache/{index}/level": str(level),
            f"cpu0/cache/{index}/size": f"{kib}K",
            f"cpu0/cache/{index}/shared_cpu_list": "0",
        }
    return files


def download(folder: Path) -> None:
    """Let pip fetch exactly the published wheels, from wherever the user's pip looks."""
    folder.mkdir()
    requirements = folder / "requirements.txt"
    lines = [f"{w.package}=={w.version} --hash=sha256:{w.sha256}\n" for w in WHEELS]
    requirements.write_text("".join(lines), encoding="utf-8")
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)]
    done = run(
        [
            *(sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", "--no-input", "--progress-bar", "off"),
            *("--python-version", "3.11", "--implementation", "cp"),
            *(word for name in platforms for word in ("--platform", name)),
            *("-d", str(folder), "-r", str(requirements)),
        ],
        DOWNLOAD_SECS,
        COMMAND,
    )
    if done.returncode != 0:
        if "No module named pip" in done.stderr:
            raise MissingRuntime(
                "This Python has no pip to download with.", next=f"{sys.executable} -m ensurepip"
            )
        raise DeviceFailed(
            f"pip could not download the ARM wheels: {last(done.stderr)}.",
            next=f"{COMMAND}, once `pip download onnxruntime` works here",
        )


def unpack(wheel: Wheel, folder: Path, place: Path) -> None:
    """Take a wheel's libraries and headers; raises `DeviceFailed` where they are not in it."""
    name = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
    (file,) = (path for path in folder.iterdir() if path.name.startswith(name))
    with zipfile.ZipFile(file) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        for member, target in wheel.members.items():
            if member.endswith("/"):
                chosen = [n for n in sizes if n.startswith(member) and n.endswith((".h", ".hpp"))]
            else:
                chosen = [member] if member in sizes else []
            if not chosen:
                raise DeviceFailed(f"{file.name} does not hold {member}.", next=COMMAND)
            for source in chosen:
                rest = PurePosixPath(source).relative_to(member) if source != member else ""
                _extract(archive, source, sizes[source], place / target / str(rest))


def _extract(archive: zipfile.ZipFile, name: str, size: int, target: Path) -> None:
    if size > MOST_LIBRARY_BYTES or ".." in PurePosixPath(name).parts:
        raise DeviceFailed(f"{name} of a wheel is refused.", next=COMMAND)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(name) as source, target.open("wb") as written:
        shutil.copyfileobj(source, written)


def native_sources() -> Path:
    """Our C and C++ sources: inside the installed package, or beside it in a clone."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "native", here.parent / "native"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise DeviceFailed("This installation of edgevit lacks its native sources.", next="pip check")


def build(place: Path) -> None:
    """Cross-compile the runner and the core, and compile the plugin for this machine."""
    sources, folder, binaries = native_sources(), place / "build", place / "bin"
    version = packages()["executorch"]
    # The wheel's own layout, which the linker looks for: include/ and lib/ beside each other.
    _built(
        [
            *("cmake", "-S", str(sources), "-B", str(folder)),
            f"-DCMAKE_TOOLCHAIN_FILE={sources / 'cmake' / (TRIPLE + '.cmake')}",
            *(f"-DEDGEVIT_EXECUTORCH={place}", f"-DEDGEVIT_EXECUTORCH_VERSION={version}"),
        ],
        "configured",
    )
    _built(["cmake", "--build", str(folder)], "built")
    binaries.mkdir()
    for name in ("core/edgevit-core", *(f"runner/edgevit-run-{w.engine}" for w in WHEELS)):
        shutil.copy(folder / name, binaries)
    shutil.rmtree(folder)
    plugin = sources / "plugin" / "count.c"
    target = binaries / "libedgevit_count.so"
    _built(["cc", "-O2", "-fPIC", "-shared", "-o", str(target), str(plugin)], "built")


def _built(command: Sequence[str], verb: str) -> None:
    done = run(command, BUILD_SECS, COMMAND)
    if done.returncode != 0:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if "error" in line]
        raise DeviceFailed(
            f"The native runner could not be {verb}: {last(said[0] if said else done.stderr)}.",
            next=f"{COMMAND}, once a C++ compiler for {TRIPLE} works here",
        )


def check(environment: Emulated) -> None:
    """Start every runner on an emulated core: it must get as far as to miss its file."""
    core = CORES["cortex-a77"]
    for wheel in WHEELS:
        words: list[str | Path] = ["--model", "/nonexistent", "--describe"]
        library = environment.library(wheel.engine)
        if library is not None:
            words += ["--library", library]
        program = environment.program(wheel.engine)
        try:
            done = subprocess.run(
                environment.command(core, program, *words),
                capture_output=True,
                text=True,
                timeout=CHECK_SECS,
                check=False,
                env={"PATH": "/usr/bin:/bin"},
            )
            event = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
        except (subprocess.TimeoutExpired, ValueError):
            done, event = None, {}
        if event.get("event") != "failed" or "cannot be loaded" in event.get("message", ""):
            why = event.get("message") or (last(done.stderr) if done else "it said nothing")
            raise DeviceFailed(
                f"{wheel.package} for ARM was set up and does not start: {why}.",
                next="edgevit doctor",
            )
