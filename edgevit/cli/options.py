"""Options that several commands share, and the small parsers of their values."""

import re
from pathlib import Path
from typing import Annotated

import typer

from edgevit.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only results and failures.")]
Atol = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER", help="Maximum absolute difference, instead of the relative 1e-4."
    ),
]
MinCosine = Annotated[float | None, typer.Option(metavar="NUMBER", help="Minimum cosine.")]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "-f",
        "--format",
        metavar="NAMES",
        help="Only these formats, comma-separated: onnx, executorch, litert, coreml.",
    ),
]
Runtimes = Annotated[
    list[str] | None,
    typer.Option(
        "-r",
        "--runtime",
        metavar="NAMES",
        help="Only files of these runtimes: onnxruntime, executorch, litert, coreml.",
    ),
]
# As above, in commands that can open a file in another runtime than its format's own.
AnyRuntime = Annotated[
    list[str] | None,
    typer.Option(
        "-r",
        "--runtime",
        metavar="NAMES",
        help="Only files of these runtimes: onnxruntime, executorch, litert, coreml; or the classic"
        " tflite-runtime, for .tflite files.",
    ),
]
# What --runtime was called while it took formats.
Engine = Annotated[
    str | None,
    typer.Option("--engine", metavar="NAME", hidden=True, help="The older name of --runtime."),
]
BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A directory that `edgevit export` wrote.")
]

WHOLE = re.compile(r"-?[0-9]{1,18}")


def words(texts: list[str] | None, option: str) -> tuple[str, ...]:
    """Names separated by commas, from an option that may be given several times; empty for None.

    Raises `UsageError` if a text has no name.
    """
    names: list[str] = []
    for text in texts or ():
        found = [word.strip() for word in text.split(",") if word.strip()]
        if not found:
            raise UsageError(f"{option} takes names separated by commas, not {text!r}.")
        names += found
    return tuple(names)


def numbers(texts: list[str], option: str) -> tuple[int, ...]:
    """The same with whole numbers; raises `UsageError`."""
    parts = words(texts, option)
    if not all(WHOLE.fullmatch(part) for part in parts):
        given = ",".join(texts)
        raise UsageError(f"{option} takes whole numbers separated by commas, not {given!r}.")
    return tuple(int(part) for part in parts)


def sizes(texts: list[str] | None) -> tuple[tuple[int, ...] | None, ...]:
    """Parse `H W` or `HxW` (video: `T H W`). No text gives `(None,)`, the model's own size.

    Raises `UsageError`.
    """
    parsed: list[tuple[int, ...] | None] = []
    for text in texts or []:
        sides = re.split(r"[xX ]", text)
        if len(sides) not in (2, 3) or not all(WHOLE.fullmatch(side) for side in sides):
            raise UsageError(
                "--input-size takes a height and a width in pixels (for video the frames before"
                f" them), not {text!r}.",
                next="--input-size 448 448",
            )
        parsed.append(tuple(int(side) for side in sides))
    return tuple(parsed) or (None,)


def options(texts: list[str] | None) -> tuple[tuple[str, object], ...]:
    """Parse `KEY=VALUE` pairs; whole numbers become int. Raises `UsageError`."""
    pairs: dict[str, object] = {}
    for text in texts or []:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise UsageError(
                f"--option takes KEY=VALUE, not {text!r}.", next="--option injection=fuse_sum"
            )
        if key in pairs:
            raise UsageError(f"--option {key} is given twice.")
        pairs[key] = int(value) if WHOLE.fullmatch(value) else value
    return tuple(pairs.items())
