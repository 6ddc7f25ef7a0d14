"""`edgevit device`: what is there to run files on, and setting up what other devices need."""

import sys
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet
from edgevit.errors import UsageError

SETUPS = ("emulated", "tflite")

SETUP = """\b
Examples:
  edgevit device setup emulated
  edgevit device setup tflite
  edgevit device setup tflite --force"""
LIST = """\b
Examples:
  edgevit device list
  edgevit device list --json"""

app = typer.Typer(help="List devices, and set up what they need.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def device(context: typer.Context) -> None:
    """List devices, and set up what they need."""
    if context.invoked_subcommand is None:
        sys.stdout.write(f"{context.get_help()}\n")
        raise typer.Exit(2)


@app.command("list", short_help="List the devices, and what each can run.", epilog=LIST)
def list_devices(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the devices that files can be run on, and what each can run.

    A device that needs something has the command that brings it.
    """
    from edgevit.cli.views.devices import COLUMNS, device_facts, device_rows
    from edgevit_runtimes.listing import list_all

    with Terminal(quiet) as terminal:
        listed = list_all()
        if as_json:
            print_json({"schema": 1, "devices": device_facts(listed)})
        else:
            print_table(COLUMNS, device_rows(listed))
        terminal.next("edgevit bench BUNDLE --device DEVICE")


@app.command("setup", short_help="Set up emulated devices, or another runtime.", epilog=SETUP)
def setup(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="emulated: ARM cores to count on. tflite: the classic tflite-runtime 2.14.0.",
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Make it again, even if it exists.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Set up, in a directory of the user, what a device or a runtime needs.

    emulated: the ARM libraries of ONNX Runtime, LiteRT and ExecuTorch, pinned, and the native
    runner, built with the cross compiler (`edgevit bench BUNDLE --device emulated:cortex-a77`).
    Needs Debian's qemu-user, g++-aarch64-linux-gnu and cmake. EDGEVIT_EMULATED_HOME names another
    directory.

    tflite: tflite-runtime and numpy 1, pinned, to run .tflite files as old boards do
    (`edgevit verify BUNDLE --runtime tflite-runtime`). EDGEVIT_TFLITE_HOME names another directory.

    Both download with pip, only what is named on the line that is printed first.
    """
    from edgevit.cli.views.setup import COLUMNS, setup_facts, setup_row
    from edgevit_runtimes.setup import emulated, tflite
    from edgevit_runtimes.setup.kept import bytes_of

    if name not in SETUPS:
        raise UsageError(
            f"There is no {name!r} to set up; known: {', '.join(SETUPS)}.",
            next=f"edgevit device setup {SETUPS[0]}",
        )
    with Terminal(quiet) as terminal:
        kept = emulated.KEPT if name == "emulated" else tflite.KEPT
        if force or kept.find() is None:
            terminal.note(emulated.plan_emulated() if name == "emulated" else tflite.plan_tflite())
        if name == "emulated":
            made, state = emulated.setup_emulated(force, terminal.working)
            place, packages = made.path, emulated.packages()
            following = "edgevit bench BUNDLE --device emulated:cortex-a77"
        else:
            environment, state = tflite.setup_tflite(force, terminal.working)
            place, packages = environment.path, dict(tflite.PACKAGES)
            following = "edgevit verify BUNDLE --runtime tflite-runtime"
        size = bytes_of(place)
        terminal.done(f"{state} {place}")
        if as_json:
            print_json(setup_facts(name, state, place, packages, size))
        else:
            print_table(COLUMNS, [setup_row(name, state, place, packages, size)])
        terminal.next(following)
