"""`edgevit compare`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Examples:
  edgevit compare before.json after.json
  edgevit compare before.json after.json --fail-on 2% --json"""


def compare(
    before: Annotated[
        Path, typer.Argument(metavar="A.json", help="A file that `edgevit bench -o` wrote.")
    ],
    after: Annotated[
        Path, typer.Argument(metavar="B.json", help="Another one, to be compared with it.")
    ],
    fail_on: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Exit with 1 if a file got slower by more than this share."
        ),
    ] = "5%",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare two measurements of `edgevit bench`: each file's ratio with its 95 % interval.

    Results of different devices, inputs or clocks are refused. Where the repeats of a measurement
    spread by more than the share, the file is `noisy` and no verdict is given. Instruction counts
    are exact.
    """
    from edgevit.cli.views.compare import COLUMNS, comparison_facts, comparison_rows
    from edgevit.measure.compare import compare_results, parse_share

    with Terminal(quiet) as terminal:
        comparison = compare_results(before, after, parse_share(fail_on))
        if as_json:
            print_json(comparison_facts(comparison))
        else:
            print_table(COLUMNS, comparison_rows(comparison), f"{after} against {before}")
        for name in comparison.alone:
            terminal.note(f"only one of the two has {name}")
        if not comparison.slower:
            terminal.done(f"nothing got slower by more than {100 * comparison.tolerance:.3g} %")
        both = f"{shlex.quote(str(before))} {shlex.quote(str(after))}"
        terminal.next(f"edgevit report {both} -o report.html")
        if comparison.slower:
            raise typer.Exit(1)
