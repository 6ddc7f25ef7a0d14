"""`edgevit info`."""

from typing import Annotated

import typer

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Example:
  edgevit info topformer-t"""


def info(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `edgevit list`.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one model: sizes, outputs, published scores, demo weights, license."""
    from edgevit.cli.views.models import model_facts, model_lines

    facts = model_facts(model)
    if as_json:
        print_json(facts)
    else:
        print_table(("fact", "value"), model_lines(facts), model)
    weights = "" if facts["demo_weights"] else " --weights CHECKPOINT.pth"
    with Terminal(quiet) as terminal:
        terminal.next(f"edgevit export {model}{weights} --target android-arm64 -o out")
