"""The typer application: one file a group of commands."""

import sys
from typing import Annotated

import typer

from edgevit import __version__
from edgevit.cli import bench, bundles, deploying, knowing

app = typer.Typer(
    help="Take a vision transformer from a training checkpoint to a verified file for a phone.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; works after any command.")
    ] = False,
) -> None:
    """Options of the program itself."""
    if version:
        sys.stdout.write(f"edgevit {__version__}\n")
        raise typer.Exit


app.command("export")(deploying.export)
app.command("verify")(bundles.verify)
app.command("run")(bundles.run)
app.command("bench")(bench.bench)
app.command("list")(knowing.list_)
app.command("info")(knowing.info)
app.command("inspect")(knowing.inspect)
app.command("doctor")(knowing.doctor)
