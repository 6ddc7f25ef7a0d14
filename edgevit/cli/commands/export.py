"""`edgevit export`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from edgevit.cli.choice import choose
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import (
    Atol,
    Formats,
    Json,
    MinCosine,
    Quiet,
    Runtimes,
    options,
    sizes,
    words,
)
from edgevit.cli.views.exported import next_step, print_exported
from edgevit.errors import UsageError

if TYPE_CHECKING:
    from edgevit.request.spec import DeploySpec
    from edgevit_export.scheme import Observer

EXAMPLES = """\b
Examples:
  edgevit export topformer-t --target android-arm64 -o out
  edgevit export topformer-t --precision int8 --calibration-data photos -o out
  edgevit export topformer-b --weights best.pth --labels names.txt --input-size 512 512 -o out"""


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `edgevit list`.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "--checkpoint",
            metavar="FILE",
            help="Your checkpoint; without it, our demo weights.",
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Seeded random weights: for measuring speed alone."),
    ] = False,
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="android-arm64, linux-arm64, ios-arm64, macos-arm64 or host."
        ),
    ] = "host",
    output_dir: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output-dir",
            metavar="DIR",
            help="The bundle; several sizes or precisions lie below it.",
        ),
    ] = Path("out"),
    input_size: Annotated[
        list[str] | None,
        typer.Option(
            "--input-size",
            metavar="H W",
            help="In pixels (video: frames H W); may be repeated. Else the model's own.",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--precision",
            metavar="NAMES",
            help="fp32, int8 (the best recipe that keeps its accuracy) or another of"
            " `edgevit list --precisions`; comma-separated. Else the target's own.",
        ),
    ] = None,
    formats: Formats = None,
    runtime: Runtimes = None,
    output: Annotated[
        str, typer.Option(metavar="KIND", help="logits, or mask (upsample and argmax inside).")
    ] = "logits",
    preprocessing: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How pictures are prepared; else as for the weights."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="How photos meet the size: stretch or pad."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one a line.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Only a check: the checkpoint has the number."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Of the architecture, e.g. injection=fuse_sum."),
    ] = None,
    opset: Annotated[
        int, typer.Option(metavar="NUMBER", help="ONNX operator set, 18 or newer.")
    ] = 18,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Of the random inputs files are compared on.")
    ] = 0,
    calibration_data: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Pictures like those the network will see, for int8; else drawn scenes.",
        ),
    ] = "scenes",
    calibration_samples: Annotated[
        int, typer.Option(metavar="NUMBER", help="How many of them, 1 to 512.")
    ] = 64,
    observer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How int8 ranges are read: mse, percentile or minmax. Else the recipe's own.",
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-float",
            metavar="PATTERN",
            help="Layers (module paths with *) that stay float; may be repeated.",
        ),
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option(
            "--eval-data",
            metavar="DIR|scenes",
            help="What accuracy is measured on, as for `edgevit eval`.",
        ),
    ] = None,
    eval_samples: Annotated[
        int, typer.Option(metavar="NUMBER", help="At most so many pictures of it.")
    ] = 200,
    no_edit_weights: Annotated[
        bool, typer.Option("--no-edit-weights", help="Quantize the weights as they are.")
    ] = False,
    zero_label: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="Of folders of masks, as for `edgevit eval`."),
    ] = None,
    accept_accuracy: Annotated[
        bool,
        typer.Option("--accept-accuracy", help="Seal a file that misses its accuracy gate."),
    ] = False,
    no_compare_speed: Annotated[
        bool,
        typer.Option("--no-compare-speed", help="Do not time a quantized file beside fp32."),
    ] = False,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Skip the comparison, and say so in the bundle.")
    ] = False,
    no_reparameterize: Annotated[
        bool, typer.Option("--no-reparameterize", help="Export the network as it was trained.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what each rewrite did.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, load the weights, write nothing.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a bundle that is there, once the new is whole.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take a network to a verified bundle: load, rewrite exactly, export, compare, seal.

    Nothing is left behind where a step fails, and no bundle is replaced without --force.
    """
    from edgevit.request.spec import (
        FITS,
        OUTPUTS,
        DeploySpec,
        Evaluate,
        Quantize,
        Source,
        Verify,
    )

    if output not in OUTPUTS:
        raise UsageError(f"--output takes {' or '.join(OUTPUTS)}, not {output!r}.")
    if fit is not None and fit not in FITS:
        raise UsageError(f"--fit takes {' or '.join(FITS)}, not {fit!r}.")
    base = DeploySpec(
        model=model,
        output_dir=output_dir,
        target=target,
        only_formats=choose(formats, runtime).formats,
        source=Source(weights, random_weights, num_classes, options(option), labels),
        output="mask" if output == "mask" else "logits",
        preprocessing=preprocessing,
        fit=cast('Literal["stretch", "pad"] | None', fit),
        reparameterize=not no_reparameterize,
        seed=seed,
        opset=opset,
        quantize=Quantize(
            calibration_data,
            calibration_samples,
            cast("Observer | None", observer),  # checked with the rest of the spec
            not no_edit_weights,
            tuple(keep_float or ()),
        ),
        verify=Verify(not no_verify, atol, min_cosine),
        evaluate=Evaluate(
            eval_data, eval_samples, zero_label, accept_accuracy, not no_compare_speed
        ),
        force=force,
    )
    specs = _spread(base, sizes(input_size), words(precision, "--precision") or (None,))
    with Terminal(quiet) as terminal:
        terminal.working("start")
        from edgevit.deployment.export import export as export_bundle
        from edgevit.deployment.load import load
        from edgevit.request.check import check_export

        for spec in specs:
            check_export(spec)
        if dry_run:
            from edgevit.cli.views.plan import COLUMNS, plan_facts, plan_rows

            for spec in specs:
                load(spec, terminal.report)
            if as_json:
                print_json(plan_facts(specs))
            else:
                print_table(COLUMNS, plan_rows(specs), "Nothing was written (--dry-run)")
            terminal.next("the same command without --dry-run")
            return
        made = [export_bundle(spec, terminal.report) for spec in specs]
        print_exported(made, as_json, explain)
        terminal.next(next_step(made[0]))


def _spread(
    base: "DeploySpec",
    sizes: tuple[tuple[int, ...] | None, ...],
    precisions: tuple[str | None, ...],
) -> "list[DeploySpec]":
    """One spec a bundle; several bundles share the output directory."""
    from edgevit.request.spec import bundle_name

    specs = []
    for size in sizes:
        for precision in precisions:
            spec = replace(base, input_size=size, precision=precision)
            if len(sizes) * len(precisions) > 1:
                name = bundle_name(
                    base.model, size or base.card.input_size, spec.resolved_precision
                )
                spec = replace(spec, output_dir=base.output_dir / name)
            specs.append(spec)
    if len({spec.output_dir for spec in specs}) != len(specs):
        raise UsageError("The same input size and precision are asked for twice.")
    return specs
