"""What every precision costs and gives, network by runtime: the table of docs/quantization.md.

    python benchmarks/quantization.py
    python benchmarks/quantization.py vit-micro --precisions w8a8,w8dyn

Networks are those with weights of ours. Each is deployed in fp32 and in every other precision, a
process a network; its files are scored on held-out drawn scenes beside fp32 torch. They stay in
--work until all networks are there; then each is timed beside the fp32 file of the same runtime, in
turns, in one process (--untimed: not yet; a later call with --missing does it). Finished rows lie
in benchmarks/results/quantization.json with the commit they were made at.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.page import BUSY, markdown_list, markdown_table, write_part
from benchmarks.rounds import ROOT, changed, commit, in_a_process, others_busy, time_files
from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.bundle.ports import to_file
from edgevit.deployment.export import deploy
from edgevit.errors import EdgevitError
from edgevit.evaluation.gates import judge
from edgevit.networks.zoo import MODELS
from edgevit.request.spec import DeploySpec, Evaluate
from edgevit.weights import demo_weights
from edgevit_export.errors import ExportError
from edgevit_export.formats import FORMATS, why_absent
from edgevit_export.scheme import PRECISIONS
from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.errors import RuntimesError
from edgevit_runtimes.timing import ratio_interval

NAMES = tuple(name for name in MODELS if demo_weights(name) is not None)
WORDS = tuple(name for name in PRECISIONS if name != "fp32")
FAILURES = (EdgevitError, ExportError, RuntimesError)
RECORDS = ROOT / "benchmarks" / "results" / "quantization.json"
PAGE = ROOT / "docs" / "quantization.md"
ROUNDS, WARMUP = 60, 5
COLUMNS = (
    *("network", "runtime", "precision", "metric", "score", "fp32", "gate", "SQNR"),
    *("size to fp32", "speed to fp32"),
)


def one(name: str, words: Sequence[str], place: Path, samples: int) -> dict[str, Any]:
    """A network's cells, `precision/format` -> what was found."""
    fp32 = deploy(_spec(name, "fp32", tuple(FORMATS), place / "fp32", samples))
    at = f"{commit()}{' and changes' if changed() else ''}"
    cells = {}
    for word in words:
        formats = tuple(f for f, entry in FORMATS.items() if word in entry.precisions)
        whole = _whole(_spec(name, word, formats, place / word, samples))
        for format_ in formats:
            key = f"{word}/{format_}"
            try:
                spec = _spec(name, word, (format_,), place / f"{word}-{format_}", samples)
                bundle = whole or deploy(spec)
                cells[key] = _cell(bundle, fp32, format_) | {"bundle": bundle.path.name}
            except FAILURES as error:
                cells[key] = {"failed": str(error)}
            cells[key]["commit"] = at
            print(f"{name} {key}", file=sys.stderr)
    return cells


def _whole(spec: DeploySpec) -> Bundle | None:
    """All formats at once, which edit and search once; None where one fails: each goes alone."""
    try:
        return deploy(spec)
    except FAILURES:
        return None


def _spec(name: str, word: str, formats: tuple[str, ...], place: Path, samples: int) -> DeploySpec:
    return DeploySpec(
        name,
        place,
        only_formats=formats,
        precision=word,
        evaluate=Evaluate(
            data=None if word == "fp32" else "scenes",  # fp16 too, which has no gate
            samples=samples,
            accept_accuracy=True,  # the table says which miss their gate
            compare_speed=False,  # timed here, longer
        ),
        force=True,
    )


def _cell(bundle: Bundle, fp32: Bundle, format_: str) -> dict[str, Any]:
    file, base = bundle.entry(format_), fp32.entry(format_)
    found: dict[str, Any] = {
        "size": file.size,
        "fp32_size": base.size,
        "sqnr": file.verification.sqnr,
        "status": file.verification.status,
        "reason": file.verification.reason,
        "facts": dict(file.facts),
        "accuracy": [asdict(entry) for entry in file.accuracy],
        "passed": [judge(file.precision, entry).passed for entry in file.accuracy],
    }
    return found


def add_times(rows: dict[str, Any], work: Path) -> Iterator[str]:
    """Time the cells whose files still lie in `work` and that have no times yet; yields the name of
    each network that has new ones.
    """
    for name in (name for name in rows if (work / name / "fp32").is_dir()):
        fp32 = open_bundle(work / name / "fp32")
        for key, found in rows[name]["cells"].items():
            place = work / name / found.get("bundle", "")
            if found.get("status") != "executed" or "seconds" in found or not place.is_dir():
                continue
            format_ = key.partition("/")[2]
            bundle = open_bundle(place)
            found["busy"] = others_busy()
            samples = time_files(
                {
                    "fp32": _timed(fp32, fp32.entry(format_)),
                    "quantized": _timed(bundle, bundle.entry(format_)),
                },
                ROUNDS,
                WARMUP,
            )
            found["seconds"] = {who: [round(s, 7) for s in held] for who, held in samples.items()}
        yield name


def _timed(bundle: Bundle, file: FileEntry) -> tuple[Path, Any]:
    return bundle.checked(file), to_file(bundle.golden("input"), file.inputs[0])


def lines(rows: Mapping[str, Any]) -> Iterator[list[str]]:
    """The table's rows: every network, runtime and precision, those that are absent with the reason
    once, below the table.
    """
    for name in (name for name in NAMES if name in rows):
        for format_, entry in FORMATS.items():
            for word in (w for w in WORDS if w in entry.precisions):
                found = rows[name]["cells"].get(f"{word}/{format_}")
                if found is not None:
                    yield [name, format_, word, *_texts(word, found)]


def _texts(word: str, found: Mapping[str, Any]) -> list[str]:
    if "failed" in found:
        return [f"failed: {found['failed'].replace('|', '/')}", *["-"] * 6]
    size = f"{found['size'] / found['fp32_size']:.2f}"
    if found["status"] != "executed":
        return [f"not run: {found['reason']}", "-", "-", "-", "-", size, "-"]
    score = found["accuracy"][0] if found["accuracy"] else None
    return [
        score["metric"] if score else "-",
        f"{score['value']:.4f}" if score else "-",
        f"{score['reference']:.4f}" if score and score["reference"] is not None else "-",
        _gate(found) if score else "-",
        f"{found['sqnr']:.1f} dB",
        size,
        _speed(found),
    ]


def _gate(found: Mapping[str, Any]) -> str:
    return "kept" if found["passed"][0] else "**missed**"


def _speed(found: Mapping[str, Any]) -> str:
    """How much faster than fp32, and where it is not."""
    if "seconds" not in found:
        return "not timed yet"
    middle, low, high = ratio_interval(found["seconds"]["fp32"], found["seconds"]["quantized"])
    verdict = "" if low > 1 else " **slower**" if high < 1 else " **no gain**"
    return f"{middle:.2f} ({low:.2f} to {high:.2f}){verdict}"


def absent() -> list[str]:
    """Why some cells do not exist, a line each."""
    return [
        f"{format_} {word}: {why_absent(entry, word)}"
        for format_, entry in FORMATS.items()
        for word in WORDS
        if word not in entry.precisions
    ]


def page(rows: Mapping[str, Any]) -> str:
    """The measured part of docs/quantization.md."""
    return "\n\n".join(
        [
            markdown_list(_made(rows)),
            markdown_table(COLUMNS, list(lines(rows))),
            "Cells that do not exist:",
            markdown_list(absent()),
        ]
    )


def _made(rows: Mapping[str, Any]) -> list[str]:
    """On which machine, at which commit, and how idle it was, a line for all that is the same."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, row in rows.items():
        for commit_ in {found["commit"] for found in row["cells"].values()}:
            names.setdefault((commit_, row["machine"]), []).append(name)
    said = [f"{', '.join(sorted(those))}: commit {at}, {on}" for (at, on), those in names.items()]
    busy = [f.get("busy") for row in rows.values() for f in row["cells"].values() if "seconds" in f]
    if not busy or None in busy:
        return [*sorted(said), "how busy the machine was with other work is unknown"]
    doubt = " (speeds are doubtful)" if max(busy) >= BUSY else ""
    return [*sorted(said), f"other work kept at most {max(busy):.2f} cores busy{doubt}"]


def _in_a_process(name: str, words: Sequence[str], work: Path, samples: int) -> dict[str, Any]:
    asked = ("--work", str(work / name), "--precisions", ",".join(words))
    return in_a_process(
        "benchmarks.quantization", name, "--one", name, *asked, "--samples", str(samples)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, write records and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(NAMES)}; else all")
    parser.add_argument("--precisions", default=",".join(WORDS), help="comma-separated")
    parser.add_argument("--samples", type=int, default=200, help="held-out scenes a file")
    parser.add_argument("--missing", action="store_true", help="keep cells that are there")
    parser.add_argument("--untimed", action="store_true", help="leave the times to a later call")
    parser.add_argument("--records", type=Path, default=RECORDS, help="rows are kept here")
    parser.add_argument("--markdown", type=Path, default=PAGE, help="the page's part is put here")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "quantization")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    words = [word for word in asked.precisions.split(",") if word]
    if asked.one:
        print(json.dumps(one(asked.one, words, asked.work, asked.samples)))
        return
    rows = json.loads(asked.records.read_text("utf-8")) if asked.records.is_file() else {}
    facts = machine_facts()
    flags = ", ".join(facts["cpu_flags"] or ("unknown",))
    machine = f"{facts['cpu']} (x86: {flags}), one thread, {facts['os']}"
    for name in asked.names or NAMES:
        kept = rows.get(name, {}).get("cells", {})
        left = [
            w for w in words if not (asked.missing and any(k.startswith(f"{w}/") for k in kept))
        ]
        if not left:
            continue
        cells = _in_a_process(name, left, asked.work, asked.samples)
        rows[name] = {"machine": machine, "cells": {**kept, **cells}}
        _keep(rows, asked.records, asked.markdown)
    for name in () if asked.untimed else add_times(rows, asked.work):
        _keep(rows, asked.records, asked.markdown)
        print(f"{name}: timed", file=sys.stderr)


def _keep(rows: Mapping[str, Any], records: Path, markdown: Path) -> None:
    partial = records.with_suffix(".partial")
    partial.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n", "utf-8")
    partial.replace(records)
    write_part(markdown, "measured", page(rows))


if __name__ == "__main__":
    main()
