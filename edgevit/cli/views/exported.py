"""What `edgevit export` and `edgevit quantize` print of a bundle that they have made."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevit.cli.console import Terminal, print_json, print_table

if TYPE_CHECKING:
    from edgevit.bundle.opened import Bundle
    from edgevit.deployment.speeds import Speed
    from edgevit.steps import Step


class Exported:
    """A bundle that is being made, and what its steps tell beside it."""

    bundle: "Bundle"

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.speeds: dict[str, Speed] = {}  # by file

    def report(self, step: "Step") -> None:
        """Show a step, and keep a speed that it tells."""
        from edgevit.deployment.speeds import Speed

        if isinstance(step.value, Speed):
            self.speeds[step.value.file] = step.value
        self.terminal.report(step)

    def next(self) -> str:
        """What to do with the bundle: look at what it does where something of it runs here."""
        place = shlex.quote(str(self.bundle.path))
        file = self.bundle.entry()
        if file.verification.status == "executed":
            source = "VIDEO.mp4" if self.bundle.manifest.task == "video" else "PHOTO.jpg"
            return f"edgevit run {place} {source} -o results"
        return f"edgevit inspect {shlex.quote(str(self.bundle.path / file.path))}"

    def summary(self) -> dict[str, Any]:
        """Plain data; every file says how fast it is beside fp32, null where that is unknown."""
        from edgevit.cli.views.bundles import bundle_summary

        summary: dict[str, Any] = bundle_summary(self.bundle)
        for file in summary["files"]:
            found = self.speeds.get(Path(file["path"]).name)
            file["speed_to_fp32"] = None if found is None else asdict(found)
        return summary

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Columns, and a row a file."""
        from edgevit.cli.views.bundles import FILE_COLUMNS, file_rows

        columns, rows = list(FILE_COLUMNS), file_rows(self.bundle)
        if self.speeds:
            columns.append("speed to fp32, here")
            for row in rows:
                found = self.speeds.get(row[0])
                row.append("-" if found is None else found.cell())
        return columns, rows


def print_exported(made: Sequence[Exported], as_json: bool, explain: bool = False) -> None:
    """All bundles on stdout."""
    if as_json:
        print_json([one.summary() for one in made])
        return
    for one in made:
        if explain:
            from edgevit.cli.views.bundles import pass_rows

            columns = ("pass", "stage", "format", "operations", "largest difference (float64)")
            print_table(columns, pass_rows(one.bundle), "Rewrites")
        print_table(*one.table(), str(one.bundle.path))
