"""`edgevit verify` and `edgevit run`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Atol, BundlePath, Json, MinCosine, Quiet, Runtimes, words

VERIFY = """\b
Examples:
  edgevit verify out
  edgevit verify out -r onnx --json"""

RUN = """\b
Examples:
  edgevit run out PHOTO.jpg
  edgevit run out photos/*.jpg -o segmented -r litert"""


def verify(
    bundle: BundlePath,
    runtime: Runtimes = None,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle, run every file on the golden picture, and compare.

    Exits with 1 where a hash or a bound does not hold. Needs the runtimes alone, no exporter.
    """
    from edgevit.bundle import open_bundle
    from edgevit.summary import verification_cells, verification_summary
    from edgevit.verify import verify_bundle

    with Terminal(quiet) as terminal:
        terminal.working(f"verify {bundle}")
        found = verify_bundle(open_bundle(bundle), words(runtime, "--runtime"), atol, min_cosine)
        terminal.stop()
        if as_json:
            print_json({path: verification_summary(value) for path, value in found.items()})
        else:
            columns = ("file", "verified", "difference", "pixels that agree")
            rows = [[path, *verification_cells(v)] for path, v in found.items()]
            print_table(columns, rows, str(bundle))
        terminal.done("every hash is as it was sealed")
        here = any(value.status == "executed" for value in found.values())
        quoted = shlex.quote(str(bundle))
        terminal.next(
            f"edgevit bench {quoted}" if here else f"edgevit inspect {quoted}/{next(iter(found))}"
        )


def run(
    bundle: BundlePath,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE", help="Photos.")],
    output_dir: Annotated[
        Path,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Where overlays and JSON go."),
    ] = Path("segmented"),
    runtime: Annotated[
        str | None,
        typer.Option(
            "-r", "--runtime", metavar="NAME", help="Which file; else the first that runs here."
        ),
    ] = None,
    official_resize: Annotated[
        bool,
        typer.Option(
            "--official-resize",
            help="Resize the logits twice, as mmseg does, instead of the mask.",
        ),
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="NUMBER", help="Threads that the runtime may use.")
    ] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment photos: an overlay with a legend, the label mask, and class shares as JSON.

    Writes NAME.overlay.png, NAME.mask.png (one class index a pixel) and NAME.json for each photo.
    """
    from edgevit.segment import segment_pictures

    with Terminal(quiet) as terminal:
        terminal.working(f"open {bundle}")
        written = segment_pictures(
            bundle, pictures, output_dir, runtime, official_resize, threads, terminal.done
        )
        if as_json:
            print_json([item.as_json() for item in written])
        else:
            rows = [[str(item.overlay), item.top] for item in written]
            print_table(("overlay", "largest classes"), rows)
        terminal.next(f"edgevit bench {shlex.quote(str(bundle))}")
