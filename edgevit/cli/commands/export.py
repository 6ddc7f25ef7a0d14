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
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `edgevit list`.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            "--checkpoint",
            metavar="FILE",
            help="Your checkpoint. Default: the demo weights.",
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Use seeded random weights, to measure speed only."),
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
            help="Directory of the bundle; with several sizes or precisions, of all bundles.",
        ),
    ] = Path("out"),
    input_size: Annotated[
        list[str] | None,
        typer.Option(
            "--input-size",
            metavar="H W",
            help="In pixels (video: FRAMES H W). May be repeated. Default: the model's own.",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--precision",
            metavar="NAMES",
            help="fp32, int8 (the best that passes its accuracy gate) or another precision from"
            " `edgevit list --precisions`; comma-separated. Default: the target's own.",
        ),
    ] = None,
    formats: Formats = None,
    runtime: Runtimes = None,
    output: Annotated[
        str, typer.Option(metavar="KIND", help="logits, or mask (resize and argmax in the file).")
    ] = "logits",
    preprocessing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="How pictures are prepared. Default: as the weights need it."
        ),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="How photos get the input size: stretch or pad."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one per line.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Check that the checkpoint has this number of classes."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Option of the architecture, e.g. injection=fuse_sum."
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option(metavar="NUMBER", help="ONNX operator set, 18 or newer.")
    ] = 18,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Seed of the random inputs for comparisons.")
    ] = 0,
    calibration_data: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="Folder of typical pictures, to calibrate int8 files; `scenes`: drawn scenes.",
        ),
    ] = "scenes",
    calibration_samples: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of calibration pictures, 1 to 512.")
    ] = 64,
    observer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How int8 ranges are computed: mse, percentile or minmax. Default: by precision.",
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            "--keep-float",
            metavar="PATTERN",
            help="Layers to keep float: module paths with *. May be repeated.",
        ),
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option(
            "--eval-data",
            metavar="DIR|scenes",
            help="Data to measure accuracy on, as --data of `edgevit eval`.",
        ),
    ] = None,
    eval_samples: Annotated[
        int, typer.Option(metavar="NUMBER", help="Maximum number of pictures for accuracy.")
    ] = 200,
    no_edit_weights: Annotated[
        bool, typer.Option("--no-edit-weights", help="Do not edit weights before quantization.")
    ] = False,
    zero_label: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="For folders of masks, as in `edgevit eval`."),
    ] = None,
    accept_accuracy: Annotated[
        bool,
        typer.Option("--accept-accuracy", help="Seal files that miss their accuracy gate."),
    ] = False,
    no_compare_speed: Annotated[
        bool,
        typer.Option("--no-compare-speed", help="Do not compare speed with fp32."),
    ] = False,
    atol: Atol = None,
    min_cosine: MinCosine = None,
    verify_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICES",
            help="Also run the files on these devices, comma-separated: emulated:cortex-a77,"
            " ssh:USER@HOST, adb.",
        ),
    ] = None,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Skip the comparison; the bundle says so.")
    ] = False,
    no_reparameterize: Annotated[
        bool, typer.Option("--no-reparameterize", help="Export the network without rewrites.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what each rewrite did.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything and load the weights, but write nothing."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an existing bundle when the new one is complete."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a verified bundle from a model: load, rewrite exactly, export, compare, seal.

    If a step fails, nothing is left behind. No bundle is replaced without --force.
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
    from edgevit_runtimes.device import parse_device

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
        verify=Verify(
            not no_verify,
            atol,
            min_cosine,
            tuple(parse_device(name) for name in words(verify_on, "--verify-on")),
        ),
        evaluate=Evaluate(
            eval_data, eval_samples, zero_label, accept_accuracy, not no_compare_speed
        ),
        force=force,
    )
    specs = _spread(base, sizes(input_size), words(precision, "--precision") or (None,))
    with Terminal(quiet) as terminal:
        terminal.working("start")
        from edgevit.cli.views.exported import next_step, print_exported
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
        raise UsageError("The same input size and precision are given twice.")
    return specs
