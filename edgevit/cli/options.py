"""Options that several commands share, and the small parsers of their values."""

from pathlib import Path
from typing import Annotated

import typer

from edgevit.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print results and failures only.")]
Atol = Annotated[
    float | None,
    typer.Option(help="Allow this absolute difference instead of the relative measure."),
]
MinCosine = Annotated[float | None, typer.Option(help="Ask for at least this cosine.")]
Runtimes = Annotated[
    str | None,
    typer.Option(
        "-r", "--runtime", help="Only these, comma-separated: onnx, executorch, litert, coreml."
    ),
]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Directory of a bundle.")]


def words(text: str | None) -> tuple[str, ...]:
    """A comma list as a tuple."""
    return tuple(word.strip() for word in text.split(",") if word.strip()) if text else ()


def numbers(text: str, option: str) -> tuple[int, ...]:
    """A comma list of whole numbers; raises `UsageError`."""
    try:
        return tuple(int(word) for word in words(text))
    except ValueError:
        raise UsageError(
            f"{option} takes whole numbers separated by commas, not {text!r}."
        ) from None


def sizes(texts: list[str] | None) -> tuple[tuple[int, int] | None, ...]:
    """Each `HxW`; raises `UsageError`. None asked for: the model's own size."""
    parsed: list[tuple[int, int] | None] = []
    for text in texts or []:
        try:
            height, width = (int(side) for side in text.lower().split("x"))
        except ValueError:
            raise UsageError(
                f"--input-size takes a height and a width, not {text!r}.",
                next="--input-size 448 448",
            ) from None
        parsed.append((height, width))
    return tuple(parsed) or (None,)


def options(texts: list[str] | None) -> tuple[tuple[str, object], ...]:
    """`KEY=VALUE` pairs, whole numbers as such; raises `UsageError`."""
    pairs: list[tuple[str, object]] = []
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--option takes KEY=VALUE, not {text!r}.")
        pairs.append((key, int(value) if value.lstrip("-").isdigit() else value))
    return tuple(pairs)
