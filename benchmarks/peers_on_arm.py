"""ncnn and MNN on the emulated core, from their own ARM wheels: what proof.py shows beside edgevit.

    python -m benchmarks.peers_on_arm .venv/peers     (`make proof PEERS=1` does it)

sets up, in that folder alone: their wheels for ARM and their converters for this machine, by hash,
and an ARM Python of Debian's packages. The network is converted by pnnx from torchscript, and by
MNN's converter from the straight ONNX file. MNN's commands install a telemetry package by
themselves: the converter's own function is called instead, in a process of its own.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.arm_cells import Cell, spec_of, trained
from benchmarks.arm_tables import span
from benchmarks.page import markdown_table
from benchmarks.straight import export_straight
from edgevit.deployment.golden import golden_picture
from edgevit.difference import difference, sqnr
from edgevit.request.check import preprocessing_for
from edgevit_export.quiet import quiet
from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.estimate.counts import read_counts
from edgevit_runtimes.estimate.latency import estimate
from edgevit_runtimes.setup.emulated import cpuinfo, require_emulated, sysfs
from scripts.debian import NotToBeHad, unpack

MODEL, CHECKPOINT, SIDES, PRECISIONS = (
    "topformer-t",
    "scene150.safetensors",
    (448, 512),
    ("fp32", "fp16"),
)
RUNNER = Path(__file__).with_name("peers_runner.py")
RUN_SECS = 3600.0
COLUMNS = (
    "input", "precision", "runtime", "M instructions", "estimated, ms", "near fp32 torch",
)  # fmt: skip

# What ARM's Python loads, beside itself.
DEBIAN = (
    *("libc6", "libstdc++6", "libgcc-s1", "libgomp1", "zlib1g", "python3.11-minimal"),
    *("libpython3.11-minimal", "libpython3.11-stdlib", "libexpat1", "libssl3", "libffi8"),
    *("libbz2-1.0", "liblzma5", "libsqlite3-0", "libuuid1"),
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A published wheel, by hash."""

    package: str
    version: str
    machine: str  # aarch64, or x86_64 for what runs here
    sha256: str


WHEELS = (
    Wheel(
        "MNN",
        "3.6.1",
        "aarch64",
        "7f8fbf264047e81bf66f0b04ef95a8c83b8d5ca0a3670afcf3c0c3b6861de4a5",
    ),
    Wheel(
        "ncnn",
        "1.0.20261020",
        "aarch64",
        "0503da4f3960ee2e555feef55db13adffd6c62eb59a4bd22f8083b12d1757ad8",
    ),
    Wheel(
        "numpy",
        "2.4.6",
        "aarch64",
        "0ab0a9c4ffb1a6d95ef519fe4247dba8eb6b18ad93999f76b7f657039acabd47",
    ),
    Wheel(
        "MNN", "3.6.1", "x86_64", "abebaaa0c7b0af6dfd6e9f4bda46bb6a30bb95d2b88a5b441a65d1cd322311d0"
    ),
    Wheel(
        "pnnx",
        "20261020",
        "x86_64",
        "d50d921e5897293d616444191c1a2dc5366423c81bdb4bd22a985fe8071cf17c",
    ),
)


def set_up(folder: Path) -> None:
    """Fetch everything into a folder that is made whole, or not at all; found again next time.

    Raises `NotToBeHad` with what is missing.
    """
    if (folder / "whole").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for machine, place in (("aarch64", "arm"), ("x86_64", "host")):
        wheels = folder / f"{place}-wheels"
        _download(wheels, machine)
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / place)
        shutil.rmtree(wheels)
    (folder / "host" / "pnnx" / "pnnx").chmod(0o755)
    unpack(DEBIAN, folder, "arm64")
    (folder / "whole").touch()


def _download(folder: Path, machine: str) -> None:
    folder.mkdir()
    lines = [
        f"{w.package}=={w.version} --hash=sha256:{w.sha256}\n"
        for w in WHEELS
        if w.machine == machine
    ]
    (folder / "requirements.txt").write_text("".join(lines))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (28, 27, 24, 17)]
    platforms.append(f"manylinux2014_{machine}")
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-m", "pip", "download", "-qq", "--no-deps"),
            *("--require-hashes", "--only-binary", ":all:", "--python-version", "3.11"),
            *("--implementation", "cp"),
            *(word for name in platforms for word in ("--platform", name)),
            *("-d", str(folder), "-r", str(folder / "requirements.txt")),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise NotToBeHad(f"pip has not all wheels: {said[0] if said else done.stderr}")


def measure(folder: Path, work: Path, core: str) -> dict[str, Any]:
    """Count both peers at both sizes: `peer-side-precision` -> what was found."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for side in SIDES:
            place = Path(name) / str(side)
            place.mkdir()
            wanted = convert(folder, work, side, place)
            for precision in PRECISIONS:
                for peer in ("ncnn", "mnn"):
                    key = f"{peer}-{side}-{precision}"
                    found[key] = count(folder, CORES[core], peer, precision, side, place, wanted)
                    print(f"{key}: {found[key]['row']['instructions'][0] / 1e6:.1f} M", flush=True)
    return found


def convert(folder: Path, work: Path, side: int, place: Path) -> np.ndarray[Any, Any]:
    """Write the network for both, and its input; returns what it computes in torch."""
    cell = Cell(MODEL, (side, side), "onnx", "fp32", "straight", checkpoint=CHECKPOINT)
    network = trained(cell, work)
    spec = spec_of(cell, work, place / "unused")
    picture = golden_picture(spec.card.task, preprocessing_for(spec, network.preparation))[1]
    given = torch.from_numpy(picture)
    with torch.no_grad(), quiet():
        wanted = network(given).numpy()
        torch.jit.trace(network, given).save(str(place / "net.pt"))
    picture.tofile(place / "input")
    export_straight("onnx", network, given, place / "net.onnx")
    shape = f"inputshape=[1,3,{side},{side}]"
    _run([str(folder / "host" / "pnnx" / "pnnx"), "net.pt", shape, "fp16=0"], place)
    words = ["mnnconvert", "-f", "ONNX", "--modelFile", "net.onnx", "--MNNModel", "net.mnn"]
    words += ["--bizCode", "edgevit"]
    code = f"import sys; sys.path.insert(0, {str(folder / 'host')!r}); import _tools;"
    _run([sys.executable, "-I", "-c", f"{code} _tools.mnnconvert({words!r})"], place)
    return wanted


def _run(command: Sequence[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{Path(command[0]).name}: {done.stderr[-500:] or done.stdout[-500:]}")


def count(
    folder: Path,
    core: Core,
    peer: str,
    precision: str,
    side: int,
    place: Path,
    wanted: np.ndarray[Any, Any],
) -> dict[str, Any]:
    """Run one peer's file on the emulated core, compare, count, estimate."""
    environment, root = require_emulated(), folder / "root"
    _dress(root, core)
    sizes = f"{core.level1_kib}:{core.level2_kib}:{core.level3_kib}"
    model = "net.ncnn" if peer == "ncnn" else "net"
    command = [
        *("setarch", "-R", "qemu-aarch64", "-seed", "1"),
        *("-plugin", f"{environment.plugin},out=counts,caches={sizes}"),
        *("-cpu", core.emulated_as, "-L", str(root)),
        *("-E", f"PYTHONPATH={folder / 'arm'}", "-E", "PYTHONHOME=/usr"),
        *("-E", "PYTHONHASHSEED=0", "-E", "PYTHONDONTWRITEBYTECODE=1"),
        *("-E", "OPENBLAS_NUM_THREADS=1", str(root / "usr" / "bin" / "python3.11")),
        *(str(RUNNER), peer, precision, model, "input", "output", f"3,{side},{side}"),
    ]
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, timeout=RUN_SECS, check=False
    )
    if done.returncode:
        raise SystemExit(f"{peer} on {core.name}: {done.stderr[-500:]}")
    got = np.fromfile(place / "output", np.float32).reshape(wanted.shape)
    counts = read_counts(place / "counts")
    return {
        "reason": None,
        "nearness": {
            "difference": difference(got, wanted),
            **({"sqnr": sqnr(got, wanted)} if precision != "fp32" else {}),
            "equal": float(np.mean(got.argmax(1) == wanted.argmax(1))),
        },
        "row": {
            "instructions": [counts.instructions],
            "estimate": {
                k: v for k, v in estimate(counts, core).to_json().items() if k != "hottest"
            },
        },
    }


def _dress(root: Path, core: Core) -> None:
    """Show ARM's programs the core, as the emulated environment does."""
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc" / "cpuinfo").write_text(cpuinfo(core), encoding="ascii")
    for name, text in sysfs(core).items():
        file = root / "sys" / "devices" / "system" / "cpu" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="ascii")


def section(records: Mapping[str, Any] | None) -> str:
    """The peers' part of docs/proof.md."""
    if not records:
        return "Not counted: `make proof PEERS=1` fetches both and counts them."
    names = {"ncnn": "ncnn", "mnn": "MNN"}
    versions = {w.package.lower(): w.version for w in WHEELS}
    rows = []
    for key, found in records.items():
        peer, side, precision = key.split("-")
        told = found["nearness"]
        near = f"{told['sqnr']:.1f} dB" if "sqnr" in told else f"{told['difference']:.0e}"
        rows.append(
            [
                *(f"{side}x{side}", precision, f"{names[peer]} {versions[peer]}"),
                f"{found['row']['instructions'][0] / 1e6:.1f}",
                *(span(found), f"{near}, {told['equal']:.2%} of pixels"),
            ]
        )
    return markdown_table(COLUMNS, rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Set up; 0 where it is there, also from before."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder.resolve()
    try:
        set_up(folder)
    except NotToBeHad as error:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"The peers were not fetched: {error}.", file=sys.stderr)
        return 1
    print(json.dumps({w.package: w.version for w in WHEELS}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
