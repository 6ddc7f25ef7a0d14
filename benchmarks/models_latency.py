"""Single-thread latency of edgevit's files beside a straight export of the same network.

    python benchmarks/models_latency.py --peers PEERS --json result.json
    python benchmarks/models_latency.py --recorded result.json --markdown docs/benchmarks.md

PEERS is a folder that holds timm (see README.md); without it ViT and MViTv2 are compared with our
own networks, as all others are. Exported files and measured rows are kept in --work, so that the
same command goes on where it was stopped.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.networks import PLAIN, ROWS, SMALL, Row, network_of, peer_of, timm_version
from benchmarks.page import (
    aligned_table,
    architecture,
    machine_table,
    markdown_list,
    markdown_table,
    versions_table,
    warn_if_busy,
    write_part,
)
from benchmarks.prepared import Prepared, Who, alone, picture_of, prepare
from benchmarks.rounds import (
    BLOCKS,
    MEASURED,
    ROOT,
    Samples,
    changed,
    commit,
    product_speed,
    speed_cells,
    time_files,
    tool_versions,
)
from edgevit.bundle.parity import FP32_DIFFERENCE
from edgevit.bundle.ports import to_file
from edgevit_export.artifact import TensorSpec
from edgevit_runtimes.device import machine_facts
from edgevit_runtimes.timing import percentile_ms

WHO: tuple[Who, ...] = ("straight", "edgevit")
WARMUP = 3  # before every block
FEWEST = 20  # rounds of a slow network, whatever the seconds allow
SCHEMA, KIND = 1, "edgevit-models-latency"
PART = "models_latency"
PAGE = Path(__file__).with_name(f"{PART}_page.md")
COLUMNS = (
    "network", "input", "format", "straight export of", "straight, ms", "edgevit, ms",
    "products alone, ms", "speed (95 %)", "asked", "kept", "delegated subgraphs",
)  # fmt: skip


def measure_all(
    rows: Sequence[Row],
    formats: Sequence[str],
    rounds: int,
    seconds: float,
    peers: Path | None,
    work: Path,
) -> dict[str, Any]:
    """The whole result, JSON values only. All files are made before the first is timed."""
    machine = machine_facts()  # before the load that exporting makes
    found = []
    for row, name, files in prepare_all(rows, formats, peers, work):
        place = work / row.key / name / "measured.json"
        stamp = [
            *(files[who].facts.get("sha256") or files[who].reason for who in WHO),
            rounds, seconds, peer_of(row, peers), machine["cpu"], tool_versions(),
        ]  # fmt: skip
        kept = json.loads(place.read_text("utf-8")) if place.is_file() else {}
        if kept.get("stamp") != stamp:
            measured = compare(row, name, files, rounds, seconds, place.with_suffix(".samples"))
            kept = {"stamp": stamp, "peer": peer_of(row, peers), **measured}
            place.write_text(json.dumps(kept) + "\n", "utf-8")
        found.append({key: value for key, value in kept.items() if key != "stamp"})
    timm = timm_version(peers)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "threads": 1,
        "rounds": rounds,
        "seconds": seconds,
        "product_gmacs_per_s": product_speed(),
        "machine": machine,
        "versions": {**tool_versions(), **({"timm": timm} if timm else {})},
        "rows": found,
    }


def prepare_all(
    rows: Sequence[Row], formats: Sequence[str], peers: Path | None, work: Path
) -> list[tuple[Row, str, dict[Who, Prepared]]]:
    """Every file, exported and checked, or known not to be had."""
    return [
        (row, name, {who: _prepared(row, name, who, peers, work) for who in WHO})
        for row in rows
        for name in formats
    ]


def _prepared(row: Row, name: str, who: Who, peers: Path | None, work: Path) -> Prepared:
    start = time.monotonic()
    file = prepare(row, name, who, peers, work)
    said = file.reason or f"exported in {file.export_s:.0f} s"
    took = f"{time.monotonic() - start:.0f} s now"
    print(f"{row.key} {name} {who}: {said} ({took})", file=sys.stderr, flush=True)
    return file


def compare(
    row: Row, name: str, files: Mapping[Who, Prepared], rounds: int, seconds: float, into: Path
) -> dict[str, Any]:
    """Time both files in turns, or the one that there is, in a process of their own."""
    runs = {who: (files[who].path, files[who].input) for who in WHO if not files[who].reason}
    reasons = {who: files[who].reason for who in WHO}
    load, start = machine_facts()["load_average"], time.monotonic()
    samples: Samples = {}
    if runs:
        into.unlink(missing_ok=True)
        ended = alone(measure, runs, (1, 3, *row.size), rounds, seconds, into)
        if into.is_file():
            samples = json.loads(into.read_text("utf-8"))
            into.unlink()
        else:
            reasons = {who: reasons[who] or f"the measuring process {ended}" for who in WHO}
    took = time.monotonic() - start
    print(f"{row.key} {name}: measured in {took:.0f} s", file=sys.stderr, flush=True)
    return {
        "model": row.model,
        "size": list(row.size),
        "format": name,
        "at_least": row.at_least(name),
        "gmacs": gmacs_of(row),
        "files": {who: {**files[who].facts, "export_s": files[who].export_s} for who in WHO},
        "reasons": reasons,
        "samples_s": samples,
        "load_average": load,
        "commit": f"{commit()}{' and changes' if changed() else ''}",
    }


def gmacs_of(row: Row) -> float:
    """Multiplications of the row's products and convolutions, 10^9, counted in one forward."""
    network = network_of(row)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(network.input_shape))
    return counter.get_total_flops() / 2e9


def measure(
    files: Mapping[str, tuple[Path, TensorSpec]],
    shape: tuple[int, ...],
    rounds: int,
    seconds: float,
    into: Path,
) -> None:
    """Write the samples of `rounds` rounds, or of as many as fit into these seconds."""
    picture = picture_of(shape)
    fed = {who: (path, to_file(picture, taken)) for who, (path, taken) in files.items()}
    once = sum(values[0] for values in time_files(fed, rounds=1, warmup=1).values())
    count = min(rounds, max(FEWEST, int(seconds / once)))
    into.write_text(json.dumps(time_files(fed, count, WARMUP)), "utf-8")


def table_rows(result: Mapping[str, Any]) -> list[list[str]]:
    """The cells of COLUMNS; a dash where a file is not to be had."""
    rows = []
    for row in result["rows"]:
        samples = row["samples_s"]
        graphs = [row["files"][who].get("delegated_subgraphs") for who in WHO]
        if set(samples) == set(WHO):
            straight, edgevit, speed, kept = speed_cells(samples, row["at_least"])
        else:
            ms = {who: f"{percentile_ms(values, 50):.2f}" for who, values in samples.items()}
            straight, edgevit = (ms.get(who, "-") for who in WHO)
            speed, kept = "-", "no" if row["reasons"]["edgevit"] else "no file beside it"
        rows.append(
            [
                row["model"],
                "x".join(map(str, row["size"])),
                row["format"],
                row["peer"],
                straight,
                edgevit,
                f"{1e3 * row['gmacs'] / result['product_gmacs_per_s']:.2f}",
                speed,
                f"{row['at_least']:g}",
                kept,
                "-" if graphs == [None, None] else " to ".join(str(n or "-") for n in graphs),
            ]
        )
    return rows


def not_reached(result: Mapping[str, Any]) -> list[str]:
    """What the rows that miss their bound lack, in numbers, one sentence each."""
    lines = []
    for row, cells in zip(result["rows"], table_rows(result), strict=True):
        found = dict(zip(COLUMNS, cells, strict=True))
        if found["kept"] not in ("no", "undecided") or row["reasons"]["edgevit"]:
            continue
        wanted = percentile_ms(row["samples_s"]["straight"], 50) / row["at_least"]
        lines.append(
            f"{found['network']} {found['input']}, {row['format']}: {found['speed (95 %)']} where"
            f" {found['asked']} is asked. That would be {wanted:.2f} ms; the products alone take"
            f" {found['products alone, ms']} ms."
        )
    return lines


def failures(result: Mapping[str, Any]) -> list[str]:
    """Why a file is missing in the table, one sentence each."""
    return [
        f"{row['model']} {'x'.join(map(str, row['size']))}, {row['format']},"
        f" {row['peer'] + ' straight' if who == 'straight' else 'edgevit'}: {row['reasons'][who]}."
        for row in result["rows"]
        for who in WHO
        if row["reasons"][who]
    ]


def page(result: Mapping[str, Any]) -> str:
    """This part of docs/benchmarks.md; raises `SystemExit` on JSON of another kind."""
    if result.get("kind") != KIND or result.get("schema") != SCHEMA:
        raise SystemExit(f"This is no result of schema {SCHEMA} of this script.")
    machine = result["machine"]
    commits = dict.fromkeys(row["commit"] for row in result["rows"])
    missing, short = failures(result), not_reached(result)
    return PAGE.read_text("utf-8").format(
        arch=architecture(machine),
        machine=machine_table(machine, ", ".join(commits)),
        rounds=result["rounds"],
        seconds=f"{result['seconds']:g}",
        fewest=FEWEST,
        blocks=BLOCKS,
        bound=FP32_DIFFERENCE,
        product=f"{result['product_gmacs_per_s']:.1f}",
        table=markdown_table(COLUMNS, table_rows(result)),
        short=markdown_list(short) or "All keep it.",
        missing=markdown_list(missing) or "None is missing.",
        versions=versions_table(result["versions"]),
    )


def chosen(names: Sequence[str] | None) -> list[Row]:
    """Rows by their model's name or their own; without any name all but the small ones."""
    if not names:
        return list(ROWS)
    return [row for row in (*ROWS, *SMALL) if {row.model, row.key} & set(names)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure or read a result; print its table, and write what is asked for.

    Exits with 1 where a file of edgevit's is missing.
    """
    everything = {name for row in (*ROWS, *SMALL) for name in (row.model, row.key)}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=sorted(everything), metavar="NAME",
                        help="models, or rows such as mvitv2-s-video-8x64x64")  # fmt: skip
    parser.add_argument("--formats", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=90.0,
                        help=f"fewer rounds where they take longer, but {FEWEST}")  # fmt: skip
    parser.add_argument("--peers", type=Path, help="a folder that timm is installed in")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "models_latency",
                        help="exported files and measured rows are kept here")  # fmt: skip
    parser.add_argument(
        "--export-only", action="store_true", help="make the files, and measure another time"
    )
    parser.add_argument("--recorded", type=Path, help="show this JSON and measure nothing")
    parser.add_argument("--json", type=Path, help="write all samples and machine facts here")
    parser.add_argument("--markdown", type=Path, help="write this part of the page here")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or asked.seconds <= 0:
        parser.error("--rounds is at least 1, and --seconds above 0")
    if asked.recorded:
        result = json.loads(asked.recorded.read_text("utf-8"))
    else:
        if timm_version(asked.peers) is None:
            print(f"timm is not installed: every network is compared with {PLAIN}.")
        rows = chosen(asked.models)
        if asked.export_only:
            prepare_all(rows, asked.formats, asked.peers, asked.work)
            return
        result = measure_all(
            rows, asked.formats, asked.rounds, asked.seconds, asked.peers, asked.work
        )
    text = page(result)
    if asked.json:
        asked.json.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if asked.markdown:
        write_part(asked.markdown, PART, text)
    print(aligned_table(COLUMNS, table_rows(result)))
    print("\n".join(failures(result)))
    warn_if_busy(result["machine"])
    if any(row["reasons"]["edgevit"] for row in result["rows"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
