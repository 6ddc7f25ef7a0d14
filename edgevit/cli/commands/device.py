"""`edgevit device`: what measuring and trying files elsewhere needs."""

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

app = typer.Typer(help="What measuring and trying files elsewhere needs.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def device(context: typer.Context) -> None:
    """What measuring and trying files elsewhere needs."""
    if context.invoked_subcommand is None:
        sys.stdout.write(f"{context.get_help()}\n")
        raise typer.Exit(2)


@app.command("setup", short_help="Make what a runtime needs beside edgevit.", epilog=SETUP)
def setup(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="tflite: the classic tflite-runtime 2.14.0.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, though it is there.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the environment of a runtime that cannot be installed beside edgevit.

    tflite: tflite-runtime and numpy 1, pinned, for trying .tflite files as old boards run them
    (`edgevit verify BUNDLE --runtime tflite-runtime`). Downloads with pip into a directory of the
    user, or the one that EDGEVIT_TFLITE_HOME names, and nowhere else.
    """
    from edgevit.cli.views.setup import COLUMNS, setup_facts, setup_row
    from edgevit_runtimes.setup import bytes_of, find_tflite, plan_tflite, setup_tflite

    if name not in SETUPS:
        raise UsageError(
            f"There is no runtime {name!r} to set up; there is {', '.join(SETUPS)}.",
            next="edgevit device setup tflite",
        )
    with Terminal(quiet) as terminal:
        if force or find_tflite() is None:
            terminal.note(plan_tflite())
        environment, state = setup_tflite(force, terminal.working)
        size = bytes_of(environment)
        terminal.done(f"{state} {environment.path}")
        if as_json:
            print_json(setup_facts(name, state, environment.path, size))
        else:
            print_table(COLUMNS, [setup_row(name, state, environment.path, size)])
        terminal.next("edgevit verify BUNDLE --runtime tflite-runtime")
