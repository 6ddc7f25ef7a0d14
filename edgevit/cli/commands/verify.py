"""`edgevit verify`."""

import shlex
from typing import Annotated

import typer

from edgevit.cli.choice import choose
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import (
    AnyRuntime,
    Atol,
    BundlePath,
    Engine,
    Formats,
    Json,
    MinCosine,
    Quiet,
)

EXAMPLES = """\b
Examples:
  edgevit verify out
  edgevit verify out --format onnx --json
  edgevit verify out --runtime tflite-runtime
  edgevit verify out --device emulated:cortex-a77"""


def verify(
    bundle: BundlePath,
    formats: Formats = None,
    runtime: AnyRuntime = None,
    engine: Engine = None,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Where to run the files: local, adb[:SERIAL], ssh:USER@HOST, or emulated:CORE"
            " (emulated:cortex-a77).",
        ),
    ] = "local",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle, run every file on the golden picture, and compare.

    With another --device the files are executed there, with the runtimes' ARM libraries, which
    `edgevit device setup emulated` brings. Files that no ARM library opens are left out, unless
    they are asked for.

    Exits with 1 if a hash is wrong or a difference too large. Needs the runtimes, but no exporter.
    """
    from edgevit.bundle.opened import open_bundle
    from edgevit.bundle.verify import verify_bundle
    from edgevit.cli.views.bundles import (
        VERIFICATION_COLUMNS,
        verification_cells,
        verification_summary,
    )
    from edgevit_runtimes.device import parse_device
    from edgevit_runtimes.devices import where

    with Terminal(quiet) as terminal:
        terminal.working(f"verify {bundle}")
        choice = choose(formats, runtime, engine)
        place = parse_device(device)
        verified = verify_bundle(
            open_bundle(bundle), choice.formats, atol, min_cosine, choice.engine, place
        )
        terminal.stop()
        if as_json:
            print_json({path: verification_summary(value) for path, value in verified.items()})
        else:
            rows = [[path, *verification_cells(v)] for path, v in verified.items()]
            on = "" if place.kind == "local" else f", executed on {where(place)}"
            print_table(("file", *VERIFICATION_COLUMNS), rows, f"{bundle}{on}")
        terminal.done("all hashes are correct")
        here = any(value.status == "executed" for value in verified.values())
        quoted = shlex.quote(str(bundle))
        terminal.next(
            f"edgevit bench {quoted}"
            if here
            else f"edgevit inspect {quoted}/{next(iter(verified))}"
        )
