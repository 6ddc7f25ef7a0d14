"""`edgevit list`, `info`, `inspect` and `doctor`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

LIST = """\b
Examples:
  edgevit list
  edgevit list cls --json
  edgevit list --precisions"""

INFO = """\b
Example:
  edgevit info topformer-t"""

INSPECT = """\b
Examples:
  edgevit inspect out/model.pte
  edgevit inspect out/model.mlpackage --json"""

DOCTOR = """\b
Example:
  edgevit doctor"""


def list_(
    pattern: Annotated[
        str | None, typer.Argument(metavar="PATTERN", help="Part of a name.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="Only this task: segmentation, classification, pose, video or features.",
        ),
    ] = None,
    precisions: Annotated[
        bool,
        typer.Option("--precisions", help="What each format can hold, and why not the rest."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Every model: task, input size, parameters, MACs, published score with its source, formats,
    demo weights.
    """
    from edgevit.cli.views.models import COLUMNS, model_facts, model_rows
    from edgevit.errors import UsageError

    if precisions:
        if pattern or task:
            raise UsageError(
                "--precisions is of formats, not of models.", next="leave the rest out"
            )
        _list_precisions(as_json, quiet)
        return
    rows = model_rows(pattern or "", task)
    if not rows:
        asked = [repr(word) for word in (pattern, task) if word]
        raise UsageError(f"No model matches {' and '.join(asked)}.", next="edgevit list")
    if as_json:
        print_json([model_facts(row[0]) for row in rows])
    else:
        print_table(COLUMNS, rows)
    with Terminal(quiet) as terminal:
        terminal.next(f"edgevit info {rows[0][0]}")


def _list_precisions(as_json: bool, quiet: bool) -> None:
    from edgevit.cli.views.models import PRECISION_COLUMNS, precision_facts, precision_rows

    if as_json:
        print_json(precision_facts())
    else:
        print_table(PRECISION_COLUMNS, precision_rows())
    with Terminal(quiet) as terminal:
        terminal.next("edgevit export MODEL --precision int8 --calibration-data DIR -o out")


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `edgevit list`.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is known about one model: sizes, outputs, published scores, demo weights, license."""
    from edgevit.cli.views.models import model_facts, model_lines

    facts = model_facts(model)
    if as_json:
        print_json(facts)
    else:
        print_table(("fact", "value"), model_lines(facts), model)
    weights = "" if facts["demo_weights"] else " --weights CHECKPOINT.pth"
    with Terminal(quiet) as terminal:
        terminal.next(f"edgevit export {model}{weights} --target android-arm64 -o out")


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An .onnx, .pte, .tflite or .mlpackage.")
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is in an exported file: operations, what the delegate left and why, sizes, inputs and
    outputs. Nothing in the file is run.
    """
    from edgevit.bundle.inspect import as_json as to_json
    from edgevit.bundle.inspect import as_text, inspect_file
    from edgevit.bundle.opened import MANIFEST

    report = inspect_file(file)
    if as_json:
        print_json(to_json(report))
    else:
        print_table(("part", "name", "value"), as_text(report), str(file))
    with Terminal(quiet) as terminal:
        bundle = shlex.quote(str(file.parent)) if (file.parent / MANIFEST).is_file() else "BUNDLE"
        terminal.next(f"edgevit verify {bundle}")


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """What this machine has and what it lacks, with the line that installs it."""
    from edgevit.cli.views.doctor import as_json as to_json
    from edgevit.cli.views.doctor import examine

    findings = examine()
    if as_json:
        print_json(to_json(findings))
    else:
        rows = [[f.name, f.state, f.detail, f.fix or ""] for f in findings]
        print_table(("part", "state", "detail", "fix"), rows)
    with Terminal(quiet) as terminal:
        terminal.next("edgevit list")
