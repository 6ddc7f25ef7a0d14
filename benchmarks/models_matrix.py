"""Every network of at most 120 M parameters through all four formats: the table of docs/models.md.

    python benchmarks/models_matrix.py
    python benchmarks/models_matrix.py vit-tiny-16 vitpose-s --jobs 2

Each name is deployed at its own size with seeded random weights (micro networks and topformer-t
with ours), in a process of its own. Finished rows lie in benchmarks/results/models.json with
the commit they were made at, and are made again where the code or the tools are others since: the
same command goes on where it was stopped.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.page import markdown_table
from benchmarks.rounds import ROOT, changed, commit, source_state
from edgevit.bundle.classic import FACT
from edgevit.bundle.inspect import inspect_file
from edgevit.bundle.opened import Bundle
from edgevit.deployment.export import deploy
from edgevit.errors import EdgevitError
from edgevit.networks.card import ModelCard
from edgevit.networks.zoo import MODELS, model_card
from edgevit.request.spec import DeploySpec, Source
from edgevit.steps import Step
from edgevit.weights import demo_weights
from edgevit_export.errors import ExportError
from edgevit_export.formats import FORMATS
from edgevit_runtimes.device import machine_facts

MOST_PARAMS = 120_000_000
# What decides a file and its comparison: networks, passes, exporters and what compares.
SOURCES = (
    "edgevit/networks",
    "edgevit/deployment",
    "edgevit/difference.py",
    "edgevit/bundle/parity.py",
    "edgevit/weights",
    "export",
)
FAILURES = (EdgevitError, ExportError)
RECORDS = ROOT / "benchmarks" / "results" / "models.json"
PAGE = ROOT / "docs" / "models.md"
TEXT = Path(__file__).with_name("models_matrix_page.md")


def wanted(names: Sequence[str]) -> list[ModelCard]:
    """The cards asked for, else all that are small enough; those that take least first."""
    cards = [model_card(name) for name in names] if names else MODELS.values()
    return sorted(
        (card for card in cards if names or card.params <= MOST_PARAMS), key=lambda c: c.gmacs
    )


def one(name: str, place: Path, formats: Sequence[str] = tuple(FORMATS)) -> dict[str, Any]:
    """Deploy one name to all formats; where that fails a format at a time, so that one that cannot
    be written leaves the others their cells.
    """
    try:
        return _cells(name, place, tuple(formats))
    except FAILURES:
        cells = {}
        for format_ in formats:
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
            started = _cpu_seconds()
        elif step.kind == "done" and step.text.startswith("exported model"):
            suffix = Path(step.text.split(",")[0].removeprefix("exported ")).suffix
            took[suffix] = _cpu_seconds() - started

    spec = DeploySpec(
        name,
        place,
        only_formats=formats,
        source=Source(random=demo_weights(name) is None),
        force=True,
    )
    cells = cells_of(deploy(spec, watch), took)
    shutil.rmtree(place)
    return cells


def _cpu_seconds() -> float:
    """What this process and those that it waited for have computed; waiting does not count, so a
    busy or suspended machine makes no row slower.
    """
    return sum(os.times()[:4])


def cells_of(bundle: Bundle, took: Mapping[str, float]) -> dict[str, Any]:
    """What is known of each file; `took` is the CPU seconds of its export, by suffix."""
    cells = {}
    for file in bundle.manifest.files:
        found = file.verification
        report = inspect_file(bundle.path / file.path)
        cells[file.format] = {
            "size": file.size,
            "status": found.status,
            "reason": found.reason,
            "difference": found.difference,
            "agreement": found.agreement,
            "delegated_subgraphs": report.delegated_subgraphs,
            "left_out": {entry.op: entry.count for entry in report.left_out},
            "facts": {**dict(report.facts or {}), **dict(file.facts)},
            "export_cpu_seconds": round(took[FORMATS[file.format].suffix], 1),
        }
    return cells


def made(
    cards: Sequence[ModelCard],
    records: Mapping[str, Any],
    jobs: int,
    work: Path,
    missing: bool = False,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every card with its row as soon as it has one: the record's where nothing changed since, or
    whatever did with `missing`.
    """
    state = source_state(SOURCES)
    at = f"{commit()}{' and changes' if changed() else ''}"
    facts = machine_facts()
    machine = f"{facts['cpu']}, {facts['usable_cores']} cores, {facts['os']}"
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {}
        for card in cards:
            kept = records.get(card.name, {})
            if kept.get("state") == state or (kept and missing):
                yield card.name, kept
            else:
                waiting[pool.submit(_in_a_process, card.name, work)] = card.name
        try:
            for future in as_completed(waiting):
                row = {"state": state, "commit": at, "machine": machine}
                yield waiting[future], {**row, "cells": future.result()}
        finally:
            pool.shutdown(cancel_futures=True)


def _in_a_process(name: str, work: Path, formats: Sequence[str] = tuple(FORMATS)) -> dict[str, Any]:
    """`one` in a process of its own: exporters keep gigabytes, and a crash is one row's."""
    place = work / name
    command = [sys.executable, "-m", "benchmarks.models_matrix", "--one", name, *formats]
    paths = [str(ROOT), *(str(ROOT / source) for source in ("export", "runtimes"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # One thread: several would spin beside each other, and CPU time would count it.
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        [*command, "--work", str(place)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=ROOT,
    )
    shutil.rmtree(place, ignore_errors=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        said = f"the process ended with {done.returncode}{f': {last}' if last else ''}"
        return {format_: {"failed": said} for format_ in formats}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cell(found: Mapping[str, Any]) -> str:
    """Size, what was found, and CPU time; or the reason in words."""
    if "failed" in found:
        return f"failed: {found['failed'].replace('|', '/')}"
    parts = [f"{found['size'] / 1e6:.1f} MB"]
    if found["status"] == "executed":
        parts.append(f"{found['difference']:.0e}")
    else:
        parts.append(f"{found['status']}: {found['reason']}")
    graphs = found["delegated_subgraphs"]
    if graphs is not None:
        parts.append(f"{graphs} subgraph{'' if graphs == 1 else 's'}")
    if "highest rank" in found["facts"]:
        parts.append(f"rank {found['facts']['highest rank']}")
    if found["facts"].get(FACT, "").startswith("needs"):
        parts.append(found["facts"][FACT].partition(":")[0])
    return ", ".join([*parts, f"{found['export_cpu_seconds']:.0f} s"])


def table(rows: Mapping[str, Any]) -> str:
    """The page's table, in the order of MODELS."""
    lines = []
    for name in (name for name in MODELS if name in rows):
        card = model_card(name)
        lines.append(
            [
                name + (r" \*" if demo_weights(name) else ""),
                "x".join(map(str, card.input_size)),
                f"{card.params / 1e6:.1f} M",
                *(cell(rows[name]["cells"][format_]) for format_ in FORMATS),
                rows[name]["commit"],
            ]
        )
    return markdown_table(["model", "input", "params", *FORMATS, "commit"], lines)


def left_outside(rows: Mapping[str, Any]) -> str:
    """What XNNPACK leaves outside of its subgraphs, a line a network that has such."""
    lines = []
    for name in (name for name in MODELS if name in rows):
        left = rows[name]["cells"]["executorch"].get("left_out")
        if left:
            ops = ", ".join(f"{count} {op}" for op, count in sorted(left.items()))
            lines.append(f"- {name}: {ops}")
    return "\n".join(lines) or "Nothing, in any network."


def not_run(rows: Mapping[str, Any]) -> str:
    """The networks that have no row yet, in one sentence."""
    names = [card.name for card in wanted([]) if card.name not in rows]
    return f"Not run yet: {', '.join(names)}." if names else "All of them were run."


def page(rows: Mapping[str, Any]) -> str:
    """docs/models.md."""
    return TEXT.read_text("utf-8").format(
        most=MOST_PARAMS // 10**6,
        machine=";\n".join(dict.fromkeys(row["machine"] for row in rows.values())),
        not_run=textwrap.fill(not_run(rows), 100, break_on_hyphens=False),
        table=table(rows),
        left=left_outside(rows),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, deploy, write records and page; exits with 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="models; else all that are small enough")
    parser.add_argument("--jobs", type=int, default=1, help="networks at a time")
    parser.add_argument(
        "--missing", action="store_true", help="keep the rows that other commits made"
    )
    parser.add_argument("--records", type=Path, default=RECORDS, help="rows are kept here")
    parser.add_argument("--markdown", type=Path, default=PAGE, help="the page is written here")
    parser.add_argument(
        "--work", type=Path, default=ROOT / "runs" / "models_matrix", help="for bundles on the way"
    )
    parser.add_argument("--one", nargs="+", metavar="NAME FORMAT", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.one:
        name, *formats = asked.one
        print(json.dumps(one(name, asked.work, formats)))
        return
    rows = json.loads(asked.records.read_text("utf-8")) if asked.records.is_file() else {}
    cards = wanted(asked.names)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("models", total=len(cards))
        for name, row in made(cards, rows, max(1, asked.jobs), asked.work, asked.missing):
            rows[name] = row
            partial = asked.records.with_suffix(".partial")
            partial.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
            partial.replace(asked.records)
            progress.update(task, description=f"{name} done", advance=1)
    asked.markdown.write_text(page(rows), encoding="utf-8")
    failed = {
        f"{card.name} {format_}: {found['failed']}"
        for card in cards
        for format_, found in rows[card.name]["cells"].items()
        if "failed" in found
    }
    print(f"{len(cards)} models through {len(FORMATS)} formats, {len(failed)} cells failed")
    if failed:
        sys.exit("\n".join(sorted(failed)))


if __name__ == "__main__":
    main()
