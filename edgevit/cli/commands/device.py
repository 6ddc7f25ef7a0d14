"""`edgevit device`: set up other runtimes for files."""

import sys
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet
from edgevit.errors import UsageError

SETUPS = ("tflite",)

SETUP = """\b
Examples:
  edgevit device setup tflite
  edgevit device setup tflite --force"""

app = typer.Typer(help="Set up what other runtimes and devices need.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def device(context: typer.Context) -> None:
    """Set up what other runtimes and devices need."""
    if context.invoked_subcommand is None:
        sys.stdout.write(f"{context.get_help()}\n")
        raise typer.Exit(2)


@app.command("setup", short_help="Install a runtime in a separate environment.", epilog=SETUP)
def setup(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="tflite: the classic tflite-runtime 2.14.0.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, even if it exists.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a separate environment for a runtime that cannot be installed together with edgevit.

    tflite: tflite-runtime and numpy 1, pinned, to run .tflite files as old boards do
    (`edgevit verify BUNDLE --runtime tflite-runtime`). Downloads with pip, only into a directory
    of the user or the one in EDGEVIT_TFLITE_HOME.
    """
    from edgevit.cli.views.setup import COLUMNS, setup_facts, setup_row
    from edgevit_runtimes.setup.kept import bytes_of
    from edgevit_runtimes.setup.tflite import find_tflite, plan_tflite, setup_tflite

    if name not in SETUPS:
        raise UsageError(
            f"There is no runtime {name!r} to set up; known: {', '.join(SETUPS)}.",
            next="edgevit device setup tflite",
        )
    with Terminal(quiet) as terminal:
        if force or find_tflite() is None:
            terminal.note(plan_tflite())
        environment, state = setup_tflite(force, terminal.working)
        size = bytes_of(environment.path)
        terminal.done(f"{state} {environment.path}")
        if as_json:
            print_json(setup_facts(name, state, environment.path, size))
        else:
            print_table(COLUMNS, [setup_row(name, state, environment.path, size)])
        terminal.next("edgevit verify BUNDLE --runtime tflite-runtime")
