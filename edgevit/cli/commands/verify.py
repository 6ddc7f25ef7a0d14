"""`edgevit verify`."""

import shlex

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
  edgevit verify out --runtime tflite-runtime"""


def verify(
    bundle: BundlePath,
    formats: Formats = None,
    runtime: AnyRuntime = None,
    engine: Engine = None,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle, run every file on the golden picture, and compare.

    Exits with 1 if a hash is wrong or a difference too large. Needs the runtimes, but no exporter.
    """
    from edgevit.bundle.opened import open_bundle
    from edgevit.bundle.verify import verify_bundle
    from edgevit.cli.views.bundles import (
        VERIFICATION_COLUMNS,
        verification_cells,
        verification_summary,
    )

    with Terminal(quiet) as terminal:
        terminal.working(f"verify {bundle}")
        choice = choose(formats, runtime, engine)
        verified = verify_bundle(
            open_bundle(bundle), choice.formats, atol, min_cosine, engine=choice.engine
        )
        terminal.stop()
        if as_json:
            print_json({path: verification_summary(value) for path, value in verified.items()})
        else:
            rows = [[path, *verification_cells(v)] for path, v in verified.items()]
            print_table(("file", *VERIFICATION_COLUMNS), rows, str(bundle))
        terminal.done("all hashes are correct")
        here = any(value.status == "executed" for value in verified.values())
        quoted = shlex.quote(str(bundle))
        terminal.next(
            f"edgevit bench {quoted}"
            if here
            else f"edgevit inspect {quoted}/{next(iter(verified))}"
        )
