"""`edgevit quantize`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevit.cli.choice import choose
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Formats, Json, Quiet, Runtimes, sizes

if TYPE_CHECKING:
    from edgevit.request.spec import DeploySpec

EXAMPLES = """\b
Examples:
  edgevit quantize vit-micro --sensitivity
  edgevit quantize vit-base-16 --weights best.pth --calibration-data photos --sensitivity --json
  edgevit quantize vit-micro --qat --precision w4 -o out-w4"""
SAMPLES = {"sensitivity": 32, "qat": 256}


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `edgevit list`.")],
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="Measure what each block loses in int8, and the best mixtures.",
        ),
    ] = False,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Fine-tune the network for int8 or w4, and export it."),
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE|MODEL",
            help="--qat: the network to learn from. Default: the same network in fp32.",
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="NUMBER", help="--qat: training steps, 8 inputs each.")
    ] = 300,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="--qat: learning rate. Default: by precision."),
    ] = None,
    precision: Annotated[
        str, typer.Option("-p", "--precision", metavar="NAME", help="--qat: w8a8 or w4.")
    ] = "w8a8",
    output_dir: Annotated[
        Path | None, typer.Option("-o", metavar="DIR", help="--qat: directory of the bundle.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="--qat: as in `edgevit export`.")
    ] = "host",
    formats: Formats = None,
    runtime: Runtimes = None,
    accept_accuracy: Annotated[
        bool,
        typer.Option("--accept-accuracy", help="Seal files that miss their accuracy gate."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace an existing bundle when the new one is complete."),
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your checkpoint. Default: the demo weights."),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Use seeded random weights, to measure SQNR only."),
    ] = False,
    input_size: Annotated[
        list[str] | None,
        typer.Option("--input-size", metavar="H W", help="In pixels. Default: the model's own."),
    ] = None,
    calibration_data: Annotated[
        str,
        typer.Option(metavar="DIR", help="Folder of typical pictures; `scenes`: drawn scenes."),
    ] = "scenes",
    calibration_samples: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Number of them, 1 to 512. Default: 32, with --qat 256."
        ),
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option(metavar="DIR|scenes", help="Data to measure accuracy on."),
    ] = None,
    eval_samples: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Maximum number of pictures. Default: 32, with --qat 200."
        ),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON with the milliseconds that each block saves. Default: MACs."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the mixtures in this .png file.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one per line.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Seed of random weights and of training.")
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Study a network before it becomes int8, or fine-tune it for int8 or w4.

    --sensitivity: measures in torch and exports nothing. The mixtures go from all blocks int8 to
    all blocks float; no other mixture beats those marked Pareto. `edgevit export --precision mixed`
    takes the cheapest mixture that passes the accuracy gate.

    --qat: quantization-aware fine-tuning on the calibration pictures, without labels; then all
    steps of `edgevit export`.
    """
    from edgevit.errors import UsageError
    from edgevit.request.spec import DeploySpec, Evaluate, Quantize, Source

    if sensitivity == qat:
        reason = (
            "--sensitivity and --qat cannot be used together"
            if qat
            else "`quantize` needs --sensitivity or --qat"
        )
        raise UsageError(f"{reason}.", next=f"edgevit quantize {model} --sensitivity")
    wanted = sizes(input_size)
    if len(wanted) > 1:
        raise UsageError("`quantize` takes one input size.", next="give one --input-size")
    if qat and output_dir is None:
        raise UsageError(
            "--qat writes a bundle and needs -o.", next=f"edgevit quantize {model} --qat -o out"
        )
    samples = SAMPLES["qat" if qat else "sensitivity"]
    spec = DeploySpec(
        model=model,
        output_dir=output_dir or Path(),  # nothing is written
        target=target,
        only_formats=choose(formats, runtime).formats if qat else ("onnx",),
        precision=precision if qat else "w8a8",
        source=Source(weights, random_weights, labels=labels),
        input_size=wanted[0],
        seed=seed,
        quantize=Quantize(
            calibration_data, samples if calibration_samples is None else calibration_samples
        ),
        evaluate=Evaluate(
            eval_data,
            (200 if qat else 32) if eval_samples is None else eval_samples,
            accept_accuracy=accept_accuracy,
        ),
        force=force,
    )
    if qat:
        _fine_tune(spec, teacher, steps, learning_rate, as_json, quiet)
    else:
        _look(spec, costs, plot, as_json, quiet)


def _fine_tune(
    spec: "DeploySpec",
    teacher: str | None,
    steps: int,
    learning_rate: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    from edgevit.quantize.training import Training

    with Terminal(quiet) as terminal:
        terminal.working("start")
        from edgevit.cli.views.exported import next_step, print_exported
        from edgevit.deployment.finetune import fine_tune, rate_of

        rate = rate_of(spec) if learning_rate is None else learning_rate
        training = Training(rate, steps, seed=spec.seed)

        exported = fine_tune(spec, teacher, training, terminal.report)
        print_exported([exported], as_json)
        terminal.next(next_step(exported))


def _look(
    spec: "DeploySpec", costs: Path | None, plot: Path | None, as_json: bool, quiet: bool
) -> None:
    from edgevit.bundle.sealing import check_output_file, whole_file
    from edgevit.errors import UsageError

    model, weights = spec.model, spec.source.checkpoint
    if plot is not None:
        check_output_file(plot)
        if plot.suffix.lower() != ".png":
            raise UsageError(f"--plot writes a .png, not {plot.name}.")
    with Terminal(quiet) as terminal:
        terminal.working("start")
        from edgevit.cli.views.sensitivity import (
            sensitivity_columns,
            sensitivity_facts,
            sensitivity_rows,
        )
        from edgevit.deployment.sensitivity import sensitivity_of

        sensitivity = sensitivity_of(spec, costs, terminal.report)
        terminal.stop()
        if plot is not None:
            from edgevit.quantize.plot import plot as draw

            with whole_file(plot) as partial:
                draw(sensitivity, f"{model}: int8 and float blocks").save(partial, "PNG")
            terminal.done(f"wrote {plot}")
        if as_json:
            print_json(sensitivity_facts(sensitivity))
        else:
            print_table(sensitivity_columns(sensitivity), sensitivity_rows(sensitivity), model)
        again = f" --weights {shlex.quote(str(weights))}" if weights else ""
        terminal.next(f"edgevit export {model}{again} --precision int8 -o out")
