"""The typer application: one file a command."""

import sys
from typing import Annotated

import typer

from edgevit.cli.commands import (
    bench,
    compare,
    device,
    doctor,
    export,
    info,
    inspect,
    quantize,
    report,
    run,
    verify,
)
from edgevit.cli.commands import eval as eval_
from edgevit.cli.commands import list as list_
from edgevit.version import __version__

app = typer.Typer(
    help="Make verified files for phones from the checkpoint of a vision transformer.",
    epilog="""\b
Start here:
  edgevit list
  edgevit export topformer-t --target android-arm64 -o out
  edgevit run out PHOTO.jpg -o results""",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; also works after any command.")
    ] = False,
) -> None:
    """Options of the program itself."""
    if version:
        sys.stdout.write(f"edgevit {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        sys.stdout.write(f"{context.get_help()}\n")
        raise typer.Exit(2)  # no command: a script with an empty variable must notice


app.command(
    "export",
    short_help="Make a verified bundle from a model and its weights.",
    epilog=export.EXAMPLES,
)(export.export)
app.command(
    "verify", short_help="Check a bundle's hashes and run its files.", epilog=verify.EXAMPLES
)(verify.verify)
app.command("run", short_help="Run a bundle on photos or videos.", epilog=run.EXAMPLES)(run.run)
app.command("bench", short_help="Time the files of a bundle.", epilog=bench.EXAMPLES)(bench.bench)
app.command("compare", short_help="Compare two measurements of `bench`.", epilog=compare.EXAMPLES)(
    compare.compare
)
app.command("report", short_help="Write measurements as one page of HTML.", epilog=report.EXAMPLES)(
    report.report
)
app.command("eval", short_help="Measure the accuracy of a bundle's files.", epilog=eval_.EXAMPLES)(
    eval_.evaluate
)
app.command(
    "quantize", short_help="Measure int8 losses, or fine-tune for int8.", epilog=quantize.EXAMPLES
)(quantize.quantize)
app.command("list", short_help="List all models.", epilog=list_.EXAMPLES)(list_.list_models)
app.command("info", short_help="Show one model.", epilog=info.EXAMPLES)(info.info)
app.command("inspect", short_help="Show the content of an exported file.", epilog=inspect.EXAMPLES)(
    inspect.inspect
)
app.command("doctor", short_help="Check what is installed.", epilog=doctor.EXAMPLES)(doctor.doctor)
app.add_typer(device.app, name="device", short_help="List devices, set up what they need.")


def invoke(words: list[str]) -> int:
    """Parse and run; returns the exit code, or raises whatever the command raised.

    typer's own main would end the process on a broken pipe and be silent about Ctrl-C.
    """
    command = typer.main.get_command(app)
    try:
        with command.make_context("edgevit", words) as context:
            command.invoke(context)
    except typer.Exit as leaving:
        return leaving.exit_code
    return 0
