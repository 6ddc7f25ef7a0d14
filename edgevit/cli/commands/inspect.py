"""`edgevit inspect`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  edgevit inspect out/model.pte
  edgevit inspect out/model.mlpackage --json"""


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An .onnx, .pte, .tflite or .mlpackage file.")
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the content of an exported file: operations, which of them the delegate left out and
    why, sizes, inputs and outputs. The file is not run.
    """
    from edgevit.bundle.inspect import inspect_file
    from edgevit.bundle.opened import MANIFEST
    from edgevit.cli.views.inspect import COLUMNS, report_facts, report_rows

    report = inspect_file(file)
    if as_json:
        print_json(report_facts(report))
    else:
        print_table(COLUMNS, report_rows(report), str(file))
    with Terminal(quiet) as terminal:
        bundle = shlex.quote(str(file.parent)) if (file.parent / MANIFEST).is_file() else "BUNDLE"
        terminal.next(f"edgevit verify {bundle}")
