"""`edgevit list`."""

from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  edgevit list
  edgevit list cls --json
  edgevit list --precisions"""


def list_models(
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
        typer.Option(
            "--precisions", help="Show which precisions each format has, and why not the others."
        ),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List all models: task, input size, parameters, MACs, published score with its source,
    formats, demo weights.
    """
    from edgevit.cli.views.models import COLUMNS, model_facts, model_rows
    from edgevit.errors import UsageError

    if precisions:
        if pattern or task:
            raise UsageError(
                "--precisions lists formats and takes no pattern or --task.",
                next="edgevit list --precisions",
            )
        _list_precisions(as_json, quiet)
        return
    rows = model_rows(pattern or "", task)
    if not rows:
        criteria = [repr(word) for word in (pattern, task) if word]
        raise UsageError(f"No model matches {' and '.join(criteria)}.", next="edgevit list")
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
