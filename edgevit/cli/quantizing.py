"""`edgevit quantize`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet, sizes

EXAMPLES = """\b
Examples:
  edgevit quantize vit-micro --sensitivity
  edgevit quantize vit-base-16 --weights best.pth --calibration-data photos --sensitivity --json"""


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `edgevit list`.")],
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity",
            help="What each block loses by being int8, and the mixtures worth their cost.",
        ),
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
        int, typer.Option(metavar="NUMBER", help="How many of them, 1 to 512.")
    ] = 32,
    eval_data: Annotated[
        str | None,
        typer.Option(metavar="DIR|scenes", help="What the loss is measured on."),
    ] = None,
    eval_samples: Annotated[
        int, typer.Option(metavar="NUMBER", help="At most so many pictures of it.")
    ] = 32,
    costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON: milliseconds that each block saves; else MACs count."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the mixtures into this .png.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Of random weights.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a network before it becomes int8: calibrated in torch, nothing is exported.

    The mixtures go from all blocks int8 to all float; those marked Pareto are beaten by no other.
    `edgevit export --precision mixed` takes the cheapest that keeps the accuracy gate.
    """
    from edgevit.errors import UsageError
    from edgevit.sealing import check_output_file, whole_file
    from edgevit.spec import DeploySpec

    if not sensitivity:
        raise UsageError("Nothing was asked for.", next=f"edgevit quantize {model} --sensitivity")
    wanted = sizes(input_size)
    if len(wanted) > 1:
        raise UsageError("`quantize` looks at one input size.", next="give one --input-size")
    if plot is not None:
        check_output_file(plot)
        if plot.suffix.lower() != ".png":
            raise UsageError(f"--plot writes a .png, not {plot.name}.")
    spec = DeploySpec(
        model=model,
        output_dir=Path(),  # nothing is written
        runtimes=("onnx",),
        precision="w8a8",
        weights=weights,
        random_weights=random_weights,
        input_size=wanted[0],
        calibration_data=calibration_data,
        calibration_samples=calibration_samples,
        eval_data=eval_data,
        eval_samples=eval_samples,
        seed=seed,
    )
    with Terminal(quiet) as terminal:
        terminal.working("start")
        from edgevit.quantizing import COLUMNS, network_sensitivity, sensitivity_rows, to_json

        found = network_sensitivity(spec, costs, terminal.report)
        terminal.stop()
        if plot is not None:
            from edgevit.quantize.plot import plot as draw

            with whole_file(plot) as partial:
                draw(found, f"{model}: int8 and float blocks").save(partial, "PNG")
            terminal.done(f"wrote {plot}")
        if as_json:
            print_json(to_json(found))
        else:
            columns = [found.metric if name == "metric" else name for name in COLUMNS]
            print_table(columns, sensitivity_rows(found), model)
        again = f" --weights {shlex.quote(str(weights))}" if weights else ""
        terminal.next(f"edgevit export {model}{again} --precision int8 -o out")
