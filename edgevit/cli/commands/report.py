"""`edgevit report`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  edgevit report result.json -o report.html
  edgevit report phone.json counted.json -o report.html --force"""


def report(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULTS...", help="Files that `edgevit bench -o` wrote."),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The page to write.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing page.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write results as one page of HTML: tables, every sample, estimates, hottest kernels.

    The page is one file, loads nothing from elsewhere, and fits a phone.
    """
    from edgevit.bundle.sealing import check_output_file, whole_file
    from edgevit.errors import UsageError
    from edgevit.measure.report import report as page

    check_output_file(output)
    if output.exists() and not force:
        raise UsageError(
            f"{output} exists.",
            next=f"edgevit report RESULTS... -o {shlex.quote(str(output))} --force",
        )
    with Terminal(quiet) as terminal:
        text = page(results)
        with whole_file(output) as partial:
            partial.write_text(text, encoding="utf-8")
        size = len(text.encode())
        terminal.done(f"wrote {output}")
        if as_json:
            print_json({"page": str(output), "results": len(results), "bytes": size})
        else:
            row = [str(output), str(len(results)), f"{size / 1e3:.0f} kB"]
            print_table(("page", "results", "size"), [row])
        terminal.next(f"open {shlex.quote(str(output))}")
