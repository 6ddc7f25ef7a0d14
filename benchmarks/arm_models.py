"""What every system's files execute on an ARM core, beside straight exports: docs/arm-models.md.

    python benchmarks/arm_models.py --jobs 2
    python benchmarks/arm_models.py vit-micro

Every micro network and one full-size variant of each system, in fp32 and int8, for three runtimes,
each beside the straight export of the same network. Counted on an emulated core and estimated, not
measured. Finished cells are kept in --work until the code that decides them changes; with --missing
those of the records are kept, too; --recorded writes the page alone.
"""

import argparse
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arm_cells import WHO, Cell, count_cells, slim
from benchmarks.arm_tables import RUNTIMES, absent, bound_ms, counted, near, span, speed
from benchmarks.page import markdown_table
from benchmarks.rounds import ROOT, changed, commit
from benchmarks.scene150 import write_checkpoint
from edgevit.networks.zoo import MODELS
from edgevit_runtimes.cores import CORES
from edgevit_runtimes.setup.emulated import emulator_version, packages

PRECISIONS = {"fp32": "fp32", "w8a8": "int8"}
CHECKPOINT = "scene150.safetensors"
CORE = "cortex-a77"
RECORDS = ROOT / "benchmarks" / "results" / "arm_models.json"
PAGE = ROOT / "docs" / "arm-models.md"
TEXT = Path(__file__).with_name("arm_models_page.md")
COLUMNS = (
    "network", "input", "precision", "runtime", "straight, M instructions", "straight, ms",
    "edgevit, M instructions", "edgevit, ms", "speed", "bound, ms", "near fp32 torch",
)  # fmt: skip

MICRO = tuple(name for name in MODELS if "micro" in name.split("-"))
# name -> size and checkpoint, where they are not the model's own
FULL: Mapping[str, tuple[tuple[int, ...] | None, str | None]] = {
    "topformer-t": (None, CHECKPOINT),
    "vit-tiny-16": (None, None),
    "t2t-vit-7": (None, None),
    "vit-adapter-t": ((256, 256), None),
    "mvitv2-t": (None, None),
    "vitpose-s": (None, None),
}


def cells(names: Sequence[str] = ()) -> Iterator[Cell]:
    """Every file of these networks, or of all."""
    for name in names or (*MICRO, *FULL):
        size, checkpoint = FULL.get(name, (None, None))
        for precision in PRECISIONS:
            for runtime in RUNTIMES:
                for who in WHO:
                    yield Cell(
                        name, size or MODELS[name].input_size, runtime, precision, who,
                        checkpoint=checkpoint,
                    )  # fmt: skip


def rows(records: Mapping[str, Any]) -> list[list[str]]:
    """A row of `COLUMNS` a network, precision and runtime of which both files were tried."""
    found, core, lines = records["cells"], CORES[records["core"]], []
    pairs = [
        (straight, ours)
        for straight, ours in zip(*[iter(cells())] * 2, strict=True)
        if straight.key in found and ours.key in found
    ]
    for first, second in pairs:
        straight, ours = found[first.key], found[second.key]
        macs = [cell["multiply_adds"] for cell in (straight, ours) if "multiply_adds" in cell]
        bound = f"{bound_ms(macs[0], first.precision, core):.1f}" if macs else "-"
        lines.append(
            [
                *(first.model, "x".join(map(str, first.size)), PRECISIONS[first.precision]),
                RUNTIMES[first.format],
                *(counted(straight), span(straight), counted(ours), span(ours)),
                *(speed(straight, ours), bound, near(ours)),
            ]
        )
    return lines


def left_out(records: Mapping[str, Any]) -> str:
    """The networks that are not counted yet, in a sentence; nothing where all are."""
    missing = dict.fromkeys(c.model for c in cells() if c.key not in records["cells"])
    if not missing:
        return ""
    text = f"Not counted yet, wholly or in part: {', '.join(missing)}."
    return textwrap.fill(text, 110, break_on_hyphens=False) + "\n\n"


def page(records: Mapping[str, Any]) -> str:
    """docs/arm-models.md."""
    core = CORES[records["core"]]
    tried = [cell for cell in cells() if cell.key in records["cells"]]
    return TEXT.read_text("utf-8").format(
        core=core.name,
        clock=f"{core.clock_ghz:g}",
        device=core.device,
        commits=", ".join(sorted({cell["commit"] for cell in records["cells"].values()})),
        emulator=records["emulator"],
        packages=", ".join(f"{name} {version}" for name, version in records["packages"].items()),
        table=markdown_table(COLUMNS, rows(records)),
        absent=absent(tried, records["cells"]),
        left=left_out(records),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Count or read the records, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks; else all")
    parser.add_argument("--core", choices=list(CORES), default=CORE)
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "arm")
    parser.add_argument("--records", type=Path, default=RECORDS)
    parser.add_argument("--missing", action="store_true", help="keep the records that are there")
    parser.add_argument("--recorded", action="store_true", help="count nothing, write the page")
    asked = parser.parse_args(arguments)
    if not asked.recorded:
        asked.work.mkdir(parents=True, exist_ok=True)
        write_checkpoint(asked.work / CHECKPOINT)
        at = f"{commit()}{' and changes' if changed() else ''}"
        kept = json.loads(asked.records.read_text("utf-8")) if asked.records.is_file() else {}
        there: dict[str, Any] = kept.get("cells", {})
        known = there if asked.missing else ()
        wanted = [cell for cell in cells(asked.names) if cell.key not in known]
        for cell, found in count_cells(wanted, asked.work, asked.core, asked.jobs):
            there |= {cell.key: {**slim(found), "commit": at}}
            records = {  # at once: a run of hours that is broken off keeps what it made
                "what": "counted under emulation and estimated; one thread, one warm run",
                "core": asked.core,
                "emulator": emulator_version(),
                "packages": packages(),
                "cells": {c.key: there[c.key] for c in cells() if c.key in there},
            }
            asked.records.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(json.loads(asked.records.read_text("utf-8"))), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
