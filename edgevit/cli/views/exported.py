"""What `edgevit export` and `edgevit quantize` print of a bundle that they have made."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevit.cli.console import print_json, print_table
from edgevit.cli.views.bundles import FILE_COLUMNS, bundle_summary, file_rows, pass_rows

if TYPE_CHECKING:
    from edgevit.deployment.export import Exported


def next_step(exported: "Exported") -> str:
    """What to do with the bundle: look at what it does where something of it runs here."""
    bundle = exported.bundle
    place = shlex.quote(str(bundle.path))
    file = bundle.entry()
    if file.verification.status == "executed":
        source = "VIDEO.mp4" if bundle.manifest.task == "video" else "PHOTO.jpg"
        return f"edgevit run {place} {source} -o results"
    return f"edgevit inspect {shlex.quote(str(bundle.path / file.path))}"


def exported_summary(exported: "Exported") -> dict[str, Any]:
    """Plain data; every file has its speed relative to fp32, null if unknown."""
    summary: dict[str, Any] = bundle_summary(exported.bundle)
    for file in summary["files"]:
        speed = exported.speed(Path(file["path"]).name)
        file["speed_to_fp32"] = None if speed is None else asdict(speed)
    return summary


def exported_table(exported: "Exported") -> tuple[list[str], list[list[str]]]:
    """Columns, and a row a file."""
    columns, rows = list(FILE_COLUMNS), file_rows(exported.bundle)
    if exported.speeds:
        columns.append("speed to fp32, here")
        for row in rows:
            speed = exported.speed(row[0])
            row.append("-" if speed is None else speed.cell())
    return columns, rows


def print_exported(made: "Sequence[Exported]", as_json: bool, explain: bool = False) -> None:
    """All bundles on stdout."""
    if as_json:
        print_json([exported_summary(exported) for exported in made])
        return
    for exported in made:
        if explain:
            columns = ("pass", "stage", "format", "operations", "largest difference (float64)")
            print_table(columns, pass_rows(exported.bundle), "Rewrites")
        print_table(*exported_table(exported), str(exported.bundle.path))
