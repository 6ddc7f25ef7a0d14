"""`edgevit run`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.choice import choose_formats
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import BundlePath, Json, Quiet
from edgevit.errors import UsageError

EXAMPLES = """\b
Examples:
  edgevit run out PHOTO.jpg
  edgevit run out photos/*.jpg -o seen --format litert
  edgevit run out video.mp4 --top 3"""


def run(
    bundle: BundlePath,
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Photos; for video: video files or folders of frames."),
    ],
    output_dir: Annotated[
        Path,
        typer.Option(
            "-o", "--output-dir", metavar="DIR", help="Directory for the pictures and JSON."
        ),
    ] = Path("results"),
    file_format: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--format",
            metavar="NAME",
            help="The file to run: onnx, executorch, litert or coreml. Default: the first that runs"
            " here.",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "-r", "--runtime", metavar="NAME", help="The same, by the name of the runtime."
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Classification, video: number of classes. Default: 5."
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Video: pictures from one frame to the next; 0 spreads the frames over the video."
            " Default: the network's own.",
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Pose: JSON with [x, y, width, height] of each person, by picture."
        ),
    ] = None,
    flip_test: Annotated[
        bool, typer.Option("--flip-test", help="Pose: average with the mirrored picture.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="NUMBER", help="Pose: minimum score to draw a keypoint. Default: 0.3."
        ),
    ] = None,
    official_resize: Annotated[
        bool,
        typer.Option(
            "--official-resize",
            help="Segmentation: resize the logits twice, as mmseg does, instead of the mask.",
        ),
    ] = False,
    threads: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of threads of the runtime.")
    ] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run photos or videos through a bundle and show what the network sees.

    Writes NAME.json for each file, and with it NAME.overlay.png and NAME.mask.png (segmentation),
    NAME.classes.png (classification), NAME.clip.png (video), NAME.pose.png or NAME.features.png.
    """
    from edgevit.cli.views.results import COLUMNS, result_rows
    from edgevit.prediction.run import run_files
    from edgevit.tasks.task import Settings

    settings = Settings(
        official_resize=official_resize,
        top=top,
        stride=stride,
        flip_test=flip_test,
        threshold=threshold,
    )
    with Terminal(quiet) as terminal:
        terminal.working(f"open {bundle}")
        names = choose_formats("run", file_format, runtime)
        if len(names) > 1:
            raise UsageError(
                f"`run` opens one file of a bundle, not {' and '.join(names)}.",
                next=f"--format {names[0]}",
            )
        name = names[0] if names else None
        written = run_files(
            bundle, files, output_dir, name, settings, threads, boxes, terminal.done
        )
        if as_json:
            print_json([item.to_json() for item in written])
        else:
            print_table(COLUMNS, result_rows(written))
        terminal.next(f"edgevit bench {shlex.quote(str(bundle))}")
