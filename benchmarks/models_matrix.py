"""Every network of at most 120 M parameters through all four formats: the table of docs/models.md.

    python benchmarks/models_matrix.py --markdown docs/models.md
    python benchmarks/models_matrix.py vit-tiny-16 vitpose-s

Each name is deployed at its own size with seeded random weights (micro networks and topformer-t
with ours), in a process of its own. Finished rows are kept under runs/ until the code changes, so
that the same command goes on where it was stopped.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from edgevit.deployment import Step, deploy
from edgevit.errors import EdgevitError
from edgevit.models.card import ModelCard
from edgevit.models.zoo import MODELS, model_card
from edgevit.spec import DeploySpec
from edgevit.weights import demo_weights
from edgevit_export.errors import ExportError
from edgevit_export.formats import FORMATS

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "runs" / "models_matrix"
MOST_PARAMS = 120_000_000
FAILURES = (EdgevitError, ExportError)
PAGE = """# Every model through every format

Written by `python benchmarks/models_matrix.py --markdown docs/models.md`; do not edit.
{state}

Each network of at most {most} M parameters at its own input size, deployed with `--target host` in
fp32: rewritten, exported, reopened from the disk, run, and compared with the network on its golden
picture and two random inputs. A cell holds the file's size, the largest difference
`max|a - b| / max(1, std)` (a file is sealed at 1e-4 or less), the subgraphs that XNNPACK takes, and
the wall time of that export. Core ML files cannot be run on Linux: their cells say so. Weights are
seeded random ones (`--random-weights`), but for the networks marked \\*, which have edgevit's demo
weights: nothing here says how accurate a network is.

Machine: {machine}

{table}
"""


def wanted(names: Sequence[str]) -> list[ModelCard]:
    """The cards asked for, else all that are small enough."""
    if names:
        return [model_card(name) for name in names]
    return [card for card in MODELS.values() if card.params <= MOST_PARAMS]


def one(name: str, place: Path) -> dict[str, Any]:
    """Deploy one name to all formats; where that fails a format at a time, so that one that cannot
    be written leaves the others their cells.
    """
    try:
        return _cells(name, place, tuple(FORMATS))
    except FAILURES:
        cells = {}
        for format_ in FORMATS:
            try:
                cells |= _cells(name, place, (format_,))
            except FAILURES as error:
                cells[format_] = {"failed": str(error)}
        return cells


def _cells(name: str, place: Path, formats: tuple[str, ...]) -> dict[str, Any]:
    took: dict[str, float] = {}
    started = 0.0

    def watch(step: Step) -> None:
        nonlocal started
        if step.kind == "start":
            started = time.monotonic()
        elif step.kind == "done" and step.text.startswith("exported model"):
            suffix = Path(step.text.split(",")[0].removeprefix("exported ")).suffix
            took[suffix] = time.monotonic() - started

    spec = DeploySpec(
        name,
        place,
        runtimes=formats,
        random_weights=demo_weights(name) is None,
        force=True,
    )
    bundle = deploy(spec, watch)
    cells = {}
    for file in bundle.manifest.files:
        found = file.verification
        cells[file.format] = {
            "size": file.size,
            "status": found.status,
            "reason": found.reason,
            "difference": found.difference,
            "agreement": found.agreement,
            "facts": dict(file.facts),
            "export_seconds": took[FORMATS[file.format].suffix],
        }
    shutil.rmtree(place)
    return cells


def state() -> dict[str, Any]:
    """The commit, and whether the tree differs from it."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "edgevit", "export", "runtimes")
    return {"commit": git("rev-parse", "--short=12", "HEAD"), "changed": bool(changed)}


def measure(cards: Sequence[ModelCard], work: Path) -> dict[str, Any]:
    """A row a card, from the disk where this commit has it already."""
    now = state()
    rows = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn()) as progress:
        task = progress.add_task("models", total=len(cards))
        for card in cards:
            progress.update(task, description=card.name)
            kept = work / f"{card.name}.json"
            row = json.loads(kept.read_text()) if kept.is_file() else {}
            if now["changed"] or row.get("commit") != now["commit"]:
                row = {**now, "cells": _in_a_process(card.name, work)}
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(row, indent=1) + "\n")
            rows[card.name] = row
            progress.advance(task)
    return rows


def _in_a_process(name: str, work: Path) -> dict[str, Any]:
    """`one` in a process of its own: exporters keep gigabytes, and a crash is one row's."""
    place = work / "bundles" / name
    command = [sys.executable, __file__, "--one", name, "--work", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(place, ignore_errors=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {format_: {"failed": f"the process died: {last}"} for format_ in FORMATS}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cell(found: Mapping[str, Any]) -> str:
    """Size, what was found, and time; or the reason in words."""
    if "failed" in found:
        return f"failed: {found['failed']}"
    size = f"{found['size'] / 1e6:.1f} MB"
    took = f"{found['export_seconds']:.0f} s"
    if found["status"] != "executed":
        return f"{size}, {found['status']} ({found['reason']}), {took}"
    graphs = found["facts"].get("delegated_subgraphs")
    inside = "" if graphs is None else f", {graphs} subgraph{'' if graphs == 1 else 's'}"
    return f"{size}, {found['difference']:.0e}{inside}, {took}"


def table(rows: Mapping[str, Any]) -> str:
    """The page's table."""
    head = ["model", "input", "params", *FORMATS]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for name, row in rows.items():
        card = model_card(name)
        mark = " \\*" if demo_weights(name) else ""
        cells = [
            f"{name}{mark}",
            "x".join(map(str, card.input_size)),
            f"{card.params / 1e6:.1f} M",
            *(cell(row["cells"][format_]) for format_ in FORMATS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(rows: Mapping[str, Any]) -> str:
    """docs/models.md."""
    from edgevit_runtimes.device import machine_facts

    commits = sorted({row["commit"] for row in rows.values()})
    changed = any(row["changed"] for row in rows.values())
    made = f"Made at commit {', '.join(commits)}{' with changes not committed' if changed else ''}."
    facts = machine_facts()
    machine = f"{facts['cpu']}, {facts['usable_cores']} cores, {facts['os']}."
    return PAGE.format(state=made, most=MOST_PARAMS // 10**6, machine=machine, table=table(rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, deploy, write the page; exits with 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; else all that are small enough")
    parser.add_argument("--markdown", type=Path, help="write the page here")
    parser.add_argument("--work", type=Path, default=WORK, help="rows and bundles are kept here")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        print(json.dumps(one(asked.one, asked.work)))
        return
    rows = measure(wanted(asked.names), asked.work)
    if asked.markdown:
        asked.markdown.write_text(page(rows), encoding="utf-8")
    print(table(rows))
    if any("failed" in found for row in rows.values() for found in row["cells"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
