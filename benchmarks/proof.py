"""The proof that TopFormer-T segments in real time on one ARM core: docs/proof.md and a report.

    make proof
    make proof PEERS=1

TopFormer-T at 448x448 and 512x512 with 150 classes (`scene150.py`), in fp32, fp16 and int8, for
three runtimes, once as logits at 1/8 and once as the whole mask, each beside the straight export of
the same network; and the C core before and behind it. Every file is made, run and compared on an
emulated core, its instructions are counted, and what they would take is estimated: nothing here is
measured on hardware. Finished cells are kept in --work until the code that decides them changes, so
that the same command goes on where it was stopped.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import core_on_arm, peers_on_arm
from benchmarks.arm_cells import WHO, Cell, count_cells, slim
from benchmarks.arm_tables import (
    REAL_TIME_MS,
    RUNTIMES,
    absent,
    bound_ms,
    counted,
    interval,
    near,
    span,
    speed,
)
from benchmarks.page import markdown_table
from benchmarks.rounds import ROOT, changed, commit
from benchmarks.scene150 import MODEL, write_checkpoint
from edgevit.measure.report import report
from edgevit_runtimes.cores import CORES
from edgevit_runtimes.device import Device
from edgevit_runtimes.result import BenchResult, BenchSettings
from edgevit_runtimes.setup.emulated import emulator_version, packages

SIDES = (448, 512)
PRECISIONS = {"fp32": "fp32", "fp16": "fp16", "w8a8": "int8"}
CHECKPOINT = "scene150.safetensors"
CORE = "cortex-a77"
RECORDS = ROOT / "benchmarks" / "results" / "proof.json"
PAGE = ROOT / "docs" / "proof.md"
TEXT = Path(__file__).with_name("proof_page.md")

LOGITS_COLUMNS = (
    "input", "precision", "runtime", "straight, M instructions", "straight, ms",
    "edgevit, M instructions", "edgevit, ms", "speed", "bound, ms", "near fp32 torch",
)  # fmt: skip
MASK_COLUMNS = (
    "input", "precision", "runtime", "straight: mask in the graph, ms",
    "edgevit: mask in the graph, ms", "edgevit: logits and C core, scene150, ms", "speed",
    "the same on noise, ms", "equal pixels",
)  # fmt: skip
FRAME_COLUMNS = (
    "input", "file", "input, ms", "network, ms", "mask, ms", "overlay, ms", "a frame, ms",
    "within 33 ms",
)  # fmt: skip


def cells() -> Iterator[Cell]:
    """Every file of the proof, those that matter most first."""
    for side in SIDES:
        for output in ("logits", "mask"):
            for precision in PRECISIONS:
                for name in RUNTIMES:
                    for who in WHO:
                        size = (side, side)
                        yield Cell(MODEL, size, name, precision, who, output, CHECKPOINT)  # type: ignore[arg-type]


def key(side: int, output: str, precision: str, name: str, who: str) -> str:
    """The name of a cell."""
    return f"{MODEL}-scene150-{side}x{side}-{output}-{precision}-{name}-{who}"


def combinations() -> Iterator[tuple[int, str, str]]:
    """Side, precision, runtime of each row."""
    for side in SIDES:
        for precision in PRECISIONS:
            for name in RUNTIMES:
                yield side, precision, name


def mask_ms(records: Mapping[str, Any], side: int, name: str, kind: str) -> Sequence[float]:
    """The exact mask of the layout that the runtime's file has."""
    layout = "nhwc" if name == "litert" else "nchw"
    rows = records["core_rows"][str(side)]
    (found,) = (r for k, r in rows.items() if k.startswith(f"exact mask, {kind}, {layout}"))
    told: Sequence[float] = found["interval_ms"]
    return told


def logits_rows(records: Mapping[str, Any]) -> list[list[str]]:
    """A row of `LOGITS_COLUMNS` a size, precision and runtime."""
    rows, core = [], CORES[records["core"]]
    for side, precision, name in combinations():
        straight, ours = (
            records["cells"][key(side, "logits", precision, name, who)] for who in WHO
        )
        macs = next(
            found["multiply_adds"] for found in (straight, ours) if "multiply_adds" in found
        )
        rows.append(
            [
                *(f"{side}x{side}", PRECISIONS[precision], RUNTIMES[name]),
                *(counted(straight), span(straight), counted(ours), span(ours)),
                *(speed(straight, ours), f"{bound_ms(macs, precision, core):.1f}", near(ours)),
            ]
        )
    return rows


def mask_rows(records: Mapping[str, Any]) -> list[list[str]]:
    """A row of `MASK_COLUMNS` a size, precision and runtime."""
    rows = []
    for side, precision, name in combinations():
        straight, ours = (records["cells"][key(side, "mask", precision, name, w)] for w in WHO)
        logits = records["cells"][key(side, "logits", precision, name, "edgevit")]
        scene, noise = (mask_ms(records, side, name, kind) for kind in ("scene150", "noise"))
        rows.append(
            [
                *(f"{side}x{side}", PRECISIONS[precision], RUNTIMES[name]),
                *(span(straight), span(ours), span(logits, scene)),
                *(speed(straight, logits, scene), span(logits, noise), near(ours)),
            ]
        )
    return rows


def frame_rows(records: Mapping[str, Any]) -> list[list[str]]:
    """A row of `FRAME_COLUMNS` a file of ours: from a camera's frame to a drawn mask."""
    rows = []
    for side, precision, name in combinations():
        logits = records["cells"][key(side, "logits", precision, name, "edgevit")]
        if logits["reason"]:
            continue
        core = records["core_rows"][str(side)]
        given = core[f"input 1280x720 YUV to {side}x{side} float32"]["interval_ms"]
        drawn = core[f"overlay {side}x{side} over a picture"]["interval_ms"]
        mask = mask_ms(records, side, name, "scene150")
        low, high = interval(logits, given, mask, drawn)
        within = "yes" if high <= REAL_TIME_MS else "no" if low > REAL_TIME_MS else "undecided"
        parts = [f"{a:.1f} to {b:.1f}" for a, b in (given, interval(logits), mask, drawn)]
        what = f"{RUNTIMES[name]} {PRECISIONS[precision]}"
        rows.append([f"{side}x{side}", what, *parts, f"{low:.1f} to {high:.1f}", within])
    return rows


def page(records: Mapping[str, Any]) -> str:
    """docs/proof.md."""
    core = CORES[records["core"]]
    return TEXT.read_text("utf-8").format(
        core=core.name,
        clock=f"{core.clock_ghz:g}",
        device=core.device,
        commit=records["commit"],
        peers_at=records.get("peers_at") or "-",
        emulator=records["emulator"],
        packages=", ".join(f"{name} {version}" for name, version in records["packages"].items()),
        tool=records["tool"],
        logits=markdown_table(LOGITS_COLUMNS, logits_rows(records)),
        mask=markdown_table(MASK_COLUMNS, mask_rows(records)),
        frame=markdown_table(FRAME_COLUMNS, frame_rows(records)),
        absent=absent(cells(), records["cells"]),
        peers=peers_on_arm.section(records.get("peers")),
    )


def results_of(found: Mapping[str, Any], core: str, folder: Path) -> list[Path]:
    """Results as `bench` writes them, one a size and output, for `report`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for side in SIDES:
        for output in ("logits", "mask"):
            rows = [
                found[cell.key]["row"]
                for cell in cells()
                if (cell.size[0], cell.output) == (side, output) and not found[cell.key]["reason"]
            ]
            settings = BenchSettings(repeat=1)
            whole = BenchResult(Device("emulated", core), {}, settings, ()).to_json()
            path = folder / f"{output}-{side}.json"
            path.write_text(json.dumps({**whole, "counted": rows}, indent=1) + "\n", "utf-8")
            paths.append(path)
    return paths


def measure(work: Path, core: str, jobs: int, peers: Path | None) -> dict[str, Any]:
    """Everything, JSON values only; the report is written beside the cells."""
    work.mkdir(parents=True, exist_ok=True)
    write_checkpoint(work / CHECKPOINT)
    finished = dict(count_cells(cells(), work, core, jobs))
    found = {cell.key: finished[cell] for cell in cells()}
    core_rows = {str(side): core_on_arm.measure(CORES[core], side) for side in SIDES}
    shown = results_of(found, core, work / "results")
    (work / "report.html").write_text(report(shown), "utf-8")
    (tool, *_) = (row["tool"] for row in core_rows[str(SIDES[0])].values())
    return {
        "what": "counted under emulation and estimated, not measured; one thread, one warm run",
        "core": core,
        "commit": f"{commit()}{' and changes' if changed() else ''}",
        "emulator": emulator_version(),
        "packages": packages(),
        "tool": tool,
        "cells": {name: slim(cell) for name, cell in found.items()},
        "core_rows": core_rows,
        **(
            {"peers": peers_on_arm.measure(peers, work, core), "peers_at": commit()}
            if peers
            else {}
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Count or read the records, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=list(CORES), default=CORE)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--peers", type=Path, help="where peers_on_arm.py set up ncnn and MNN")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "arm")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--recorded", action="store_true", help="count nothing, write the page")
    asked = parser.parse_args(arguments)
    if not asked.recorded:
        records = measure(asked.work, asked.core, asked.jobs, asked.peers and asked.peers.resolve())
        if not asked.peers and asked.records.is_file():  # what only PEERS=1 makes is kept
            before = json.loads(asked.records.read_text("utf-8"))
            records |= {name: before[name] for name in ("peers", "peers_at") if name in before}
        asked.records.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(json.loads(asked.records.read_text("utf-8"))), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}; the report is {asked.work / 'report.html'}")


if __name__ == "__main__":
    main()
