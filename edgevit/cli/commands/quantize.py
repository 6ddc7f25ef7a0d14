"""`edgevit quantize`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevit.cli.choice import choose
from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Formats, Json, Quiet, Runtimes, sizes
from edgevit.cli.views.exported import next_step, print_exported

if TYPE_CHECKING:
    from edgevit.request.spec import DeploySpec

EXAMPLES = """\b
Examples:
  edgevit quantize vit-micro --sensitivity
  edgevit quantize vit-base-16 --weights best.pth --calibration-data photos --sensitivity --json
  edgevit quantize vit-micro --qat --precision w4 -o out-w4"""
SAMPLES = {"sensitivity": 32, "qat": 256}


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `edgevit list`.")],
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="What each block loses by being int8, and the mixtures worth their cost.",
        ),
    ] = False,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Fine-tune the network for its integers, and export it."),
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="BUNDLE|MODEL",
            help="Whose outputs --qat learns from; else the network's own in fp32.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="NUMBER", help="Of --qat, 8 inputs each.")] = 300,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="NUMBER", help="Of --qat; else the precision's own."),
    ] = None,
    precision: Annotated[
        str, typer.Option("-p", "--precision", metavar="NAME", help="Of --qat: w8a8 or w4.")
    ] = "w8a8",
    output_dir: Annotated[
        Path | None, typer.Option("-o", metavar="DIR", help="Where --qat puts its bundle.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="NAME", help="Of --qat, as for `edgevit export`.")
    ] = "host",
    formats: Formats = None,
    runtime: Runtimes = None,
    accept_accuracy: Annotated[
        bool,
        typer.Option("--accept-accuracy", help="Seal a file that misses its accuracy gate."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a bundle that is there, once the new is whole.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Your checkpoint; without it, our demo weights."),
    ] = None,
    random_weights: Annotated[
        bool, typer.Option("--random-weights", help="Seeded random weights: SQNR alone.")
    ] = False,
    input_size: Annotated[
        list[str] | None,
        typer.Option("--input-size", metavar="H W", help="In pixels. Else the model's own."),
    ] = None,
    calibration_data: Annotated[
        str, typer.Option(metavar="DIR", help="Pictures like those the network will see.")
    ] = "scenes",
    calibration_samples: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="How many of them, 1 to 512; else 32, or 256 of --qat."
        ),
    ] = None,
    eval_data: Annotated[
        str | None,
        typer.Option(metavar="DIR|scenes", help="What the loss is measured on."),
    ] = None,
    eval_samples: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="At most so many pictures; else 32, or 200 of --qat."),
    ] = None,
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON: milliseconds that each block saves; else MACs count."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the mixtures into this .png.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Class names, one a line.")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="NUMBER", help="Of random weights and of the training.")
    ] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a network before it becomes int8, or fine-tune it for its integers.

    --sensitivity: calibrated in torch, nothing is exported. The mixtures go from all blocks int8 to
    all float; those marked Pareto are beaten by no other. `edgevit export --precision mixed` takes
    the cheapest that keeps the accuracy gate.

    --qat: quantization-aware fine-tuning on the calibration pictures, whose labels are not needed;
    then everything that `edgevit export` does.
    """
    from edgevit.errors import UsageError
    from edgevit.request.spec import DeploySpec, Evaluate, Quantize, Source

    if sensitivity == qat:
        said = "--sensitivity and --qat exclude each other" if qat else "Nothing was asked for"
        raise UsageError(f"{said}.", next=f"edgevit quantize {model} --sensitivity")
    wanted = sizes(input_size)
    if len(wanted) > 1:
        raise UsageError("`quantize` looks at one input size.", next="give one --input-size")
    if qat and output_dir is None:
        raise UsageError("--qat writes a bundle.", next=f"edgevit quantize {model} --qat -o out")
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
