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
    (`edgevit verify BUNDLE --engine tflite`). Downloads with pip into a directory of the user, or
    the one that EDGEVIT_TFLITE_HOME names, and nowhere else.
    """
    from edgevit_runtimes.setup import PACKAGES, bytes_of, find_tflite, plan_tflite, setup_tflite

    if name not in SETUPS:
        raise UsageError(
            f"There is no runtime {name!r} to set up; there is {', '.join(SETUPS)}.",
            next="edgevit device setup tflite",
        )
    with Terminal(quiet) as terminal:
        if force or find_tflite() is None:
            terminal.note(plan_tflite())
        environment, how = setup_tflite(force, terminal.working)
        size = bytes_of(environment)
        terminal.done(f"{how} {environment.path}")
        if as_json:
            facts = {
                "name": name,
                "state": how,
                "path": str(environment.path),
                "packages": dict(PACKAGES),
                "bytes": size,
            }
            print_json(facts)
        else:
            packages = ", ".join(f"{package} {version}" for package, version in PACKAGES)
            row = (name, how, packages, f"{size / 1e6:.0f} MB", str(environment.path))
            print_table(("runtime", "state", "packages", "size", "path"), [row])
        terminal.next("edgevit verify BUNDLE --engine tflite")
