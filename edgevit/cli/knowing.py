"""`edgevit list`, `info`, `inspect` and `doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

MARKS = {"ok": "ok", "missing": "missing", "warning": "warning"}


def list_(
    pattern: Annotated[str | None, typer.Argument(help="Part of a name.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Every model: task, size, parameters, MACs, formats, demo weights."""
    from edgevit.errors import UsageError
    from edgevit.knowledge import model_facts, model_rows

    rows = model_rows(pattern or "", task)
    if not rows:
        raise UsageError(f"No model matches {pattern or task!r}.", next="edgevit list")
    if as_json:
        print_json([model_facts(row[0]) for row in rows])
        return
    columns = ("model", "task", "input", "params", "GMACs", "published", "demo weights")
    print_table(columns, rows)
    Terminal(quiet).next(f"edgevit info {rows[0][0]}")


def info(
    model: Annotated[str, typer.Argument(help="A name of `edgevit list`.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is known about one model."""
    from edgevit.knowledge import model_facts, model_lines

    facts = model_facts(model)
    if as_json:
        print_json(facts)
        return
    print_table(("fact", "value"), model_lines(facts), model)
    Terminal(quiet).next(f"edgevit export {model} --target android-arm64 -o out")


def inspect(
    file: Annotated[Path, typer.Argument(help="An .onnx, .pte, .tflite or .mlpackage.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is in an exported file: operations, what the delegate left and why, borders, sizes."""
    from edgevit.inspect import as_json as to_json
    from edgevit.inspect import as_text, inspect_file

    report = inspect_file(file)
    if as_json:
        print_json(to_json(report))
        return
    print_table(("part", "name", "value"), as_text(report), str(file))
    Terminal(quiet).next("edgevit export --help")


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """What this machine has and what it lacks, with the line that installs it."""
    from edgevit.doctor import as_json as to_json
    from edgevit.doctor import examine

    findings = examine()
    if as_json:
        print_json(to_json(findings))
        return
    rows = [[f.name, MARKS[f.state], f.detail, f.fix or ""] for f in findings]
    print_table(("part", "state", "detail", "fix"), rows)
    Terminal(quiet).next("edgevit list")
