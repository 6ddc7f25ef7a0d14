"""`edgevit verify` and `edgevit run`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Atol, BundlePath, Engine, Json, MinCosine, Quiet, Runtimes, words

VERIFY = """\b
Examples:
  edgevit verify out
  edgevit verify out -r onnx --json
  edgevit verify out --engine tflite"""

RUN = """\b
Examples:
  edgevit run out PHOTO.jpg
  edgevit run out photos/*.jpg -o seen -r litert
  edgevit run out video.mp4 --top 3"""


def verify(
    bundle: BundlePath,
    runtime: Runtimes = None,
    engine: Engine = None,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle, run every file on the golden picture, and compare.

    Exits with 1 where a hash or a bound does not hold. Needs the runtimes alone, no exporter.
    """
    from edgevit.bundle.opened import open_bundle
    from edgevit.bundle.verify import verify_bundle
    from edgevit.cli.views.bundles import verification_cells, verification_summary

    with Terminal(quiet) as terminal:
        terminal.working(f"verify {bundle}")
        found = verify_bundle(
            open_bundle(bundle), words(runtime, "--runtime"), atol, min_cosine, engine=engine
        )
        terminal.stop()
        if as_json:
            print_json({path: verification_summary(value) for path, value in found.items()})
        else:
            columns = ("file", "verified", "difference", "SQNR", "pixels that agree")
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
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Photos; for video, folders of frames or videos."),
    ],
    output_dir: Annotated[
        Path,
        typer.Option("-o", "--output-dir", metavar="DIR", help="Where pictures and JSON go."),
    ] = Path("results"),
    runtime: Annotated[
        str | None,
        typer.Option(
            "-r", "--runtime", metavar="NAME", help="Which file; else the first that runs here."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Classification, video: how many classes; else 5."),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Video: pictures from frame to frame, 0 for all of it; else the network's own.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Pose: JSON, [x, y, width, height] of each person by picture."
        ),
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Pose: the mean with the mirrored picture.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Pose: score of a keypoint to be drawn; else 0.3."),
    ] = None,
    official_resize: Annotated[
        bool,
        typer.Option(
            "--official-resize",
            help="Segmentation: resize the logits twice, as mmseg does, instead of the mask.",
        ),
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="NUMBER", help="Threads that the runtime may use.")
    ] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run photos or videos through a bundle and show what the network sees.

    Writes NAME.json for each file, and with it NAME.overlay.png and NAME.mask.png (segmentation),
    NAME.classes.png (classification), NAME.clip.png (video), NAME.pose.png or NAME.features.png.
    """
    from edgevit.prediction.predictor import Settings
    from edgevit.prediction.run import run_files

    settings = Settings(
        official_resize=official_resize,
        top=top,
        stride=stride,
        flip_test=flip_test,
        threshold=threshold,
    )
    with Terminal(quiet) as terminal:
        terminal.working(f"open {bundle}")
        written = run_files(
            bundle, files, output_dir, runtime, settings, threads, boxes, terminal.done
        )
        if as_json:
            print_json([item.to_json() for item in written])
        else:
            rows = [[str(next(iter(i.drawings.values()))), i.headline] for i in written]
            print_table(("picture", "what it shows"), rows)
        terminal.next(f"edgevit bench {shlex.quote(str(bundle))}")
