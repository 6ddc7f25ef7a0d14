"""`edgevit verify` and `edgevit run`."""

from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Atol, BundlePath, Json, MinCosine, Quiet, Runtimes, words


def verify(
    bundle: BundlePath,
    runtime: Runtimes = None,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle, run every file on the golden picture, compare."""
    from edgevit.bundle import open_bundle
    from edgevit.summary import verification_cells, verification_summary
    from edgevit.verify import verify_bundle

    terminal = Terminal(quiet)
    terminal.working("verify")
    found = verify_bundle(open_bundle(bundle), words(runtime), atol, min_cosine)
    terminal.status.stop()
    if as_json:
        print_json({path: verification_summary(value) for path, value in found.items()})
        return
    columns = ("file", "verified", "difference", "pixels that agree")
    print_table(columns, [[path, *verification_cells(v)] for path, v in found.items()], str(bundle))
    terminal.next(f"edgevit bench {bundle}")


def run(
    bundle: BundlePath,
    pictures: Annotated[list[Path], typer.Argument(metavar="PICTURE...", help="Photos.")],
    output_dir: Annotated[
        Path, typer.Option("-o", "--output-dir", help="Where overlays and JSON go.")
    ] = Path("segmented"),
    runtime: Annotated[
        str | None, typer.Option("-r", "--runtime", help="Which file; the first that runs here.")
    ] = None,
    official_resize: Annotated[
        bool,
        typer.Option("--official-resize", help="Resize logits twice, as mmseg does, not the mask."),
    ] = False,
    threads: Annotated[int, typer.Option(help="Of the runtime.")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment photos: an overlay with a legend, the label mask, and class shares as JSON."""
    from edgevit.segment import segment_pictures

    terminal = Terminal(quiet)
    written = segment_pictures(
        bundle, pictures, output_dir, runtime, official_resize, threads, terminal.done
    )
    if as_json:
        print_json([item.as_json() for item in written])
        return
    rows = [[str(item.overlay), item.top] for item in written]
    print_table(("overlay", "largest classes"), rows)
    terminal.next(f"edgevit bench {bundle}")
