"""`edgevit eval`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.choice import choose_formats
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import BundlePath, Formats, Json, Quiet, Runtimes

EXAMPLES = """\b
Examples:
  edgevit eval out --data scenes
  edgevit eval out --data ade20k --max-samples 200 --format onnx
  edgevit eval out --data imagenet-val --weights checkpoint.pth
  edgevit eval out --data scenes --max-samples 20 --device emulated:cortex-a77"""


def evaluate(
    bundle: BundlePath,
    data: Annotated[
        str,
        typer.Option(
            metavar="DIR|scenes",
            help="A folder (one directory per class; images and annotations; COCO keypoints; or"
            " only pictures), or `scenes`: drawn scenes that were not used for training.",
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The checkpoint of the bundle, to measure fp32 too."),
    ] = None,
    max_samples: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Maximum number of pictures or clips.")
    ] = None,
    formats: Formats = None,
    runtime: Runtimes = None,
    zero_label: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="For masks: `keep`, or `ignore`: 0 is no class, c is class c - 1 (as in ADE20K).",
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="NUMBER", help="Batch size of the fp32 network in torch.")
    ] = 8,
    threads: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of threads of each runtime.")
    ] = 1,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE",
            help="Where to run the files: local, adb[:SERIAL], ssh:USER@HOST, or emulated:CORE"
            " (emulated:cortex-a77, some seconds a picture).",
        ),
    ] = "local",
    accept_accuracy: Annotated[
        bool, typer.Option("--accept-accuracy", help="Exit with 0 even if a file misses its gate.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the accuracy of every file of a bundle, and of its fp32 network, on labeled data.

    The metric is top-1, mIoU, PCK or AP; without labels, the agreement of each file with fp32. The
    scores are written into the manifest, those of another --device beside its name. After Ctrl-C
    the same command resumes. Exits with 1 if a file misses its gate.
    """
    from edgevit.bundle.opened import open_bundle
    from edgevit.cli.views.evaluation import (
        evaluation_columns,
        evaluation_facts,
        evaluation_rows,
    )
    from edgevit.evaluation.bundles import check_recordable, evaluate_bundle, record
    from edgevit.evaluation.data.datasets import open_data
    from edgevit.tasks.task import Subject
    from edgevit_runtimes.device import parse_device
    from edgevit_runtimes.devices import where

    with Terminal(quiet) as terminal:
        names = choose_formats("eval", formats, runtime)
        terminal.working(f"open {bundle} and the data")
        opened = open_bundle(bundle)
        check_recordable(opened)
        place = parse_device(device)
        samples = open_data(data, Subject.of(opened.manifest), opened.manifest.model, zero_label)
        if samples.note:
            terminal.note(samples.note)
        terminal.working("load the weights and the runtimes")
        scores = evaluate_bundle(
            opened,
            samples,
            weights=weights,
            max_samples=max_samples,
            formats=names,
            batch=batch,
            threads=threads,
            device=place,
            progress=terminal.counting,
            note=terminal.note,
        )
        record(opened, scores)
        terminal.stop()
        if scores.unreferenced:
            terminal.note(scores.unreferenced)
        if as_json:
            print_json(evaluation_facts(scores))
        else:
            on = "" if place.kind == "local" else f", executed on {where(place)}"
            title = f"{scores.samples} {samples.unit} of {scores.data}{on}"
            print_table(evaluation_columns(scores), evaluation_rows(scores), title)
        for path, measured in scores.files.items():
            if measured.worst is not None:
                terminal.note(f"{path}: the worst picture has {scores.metric} {measured.worst:.4f}")
        terminal.done(f"wrote the scores into {bundle / 'manifest.json'}")
        if not accept_accuracy:
            scores.require()
        terminal.next(f"edgevit bench {shlex.quote(str(bundle))}")
