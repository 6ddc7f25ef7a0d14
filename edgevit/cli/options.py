"""Options that several commands share, and the small parsers of their values."""

import re
from pathlib import Path
from typing import Annotated

import typer

from edgevit.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print results and failures only.")]
Atol = Annotated[
    float | None,
    typer.Option(
        metavar="NUMBER", help="Allow this absolute difference instead of the relative 1e-4."
    ),
]
MinCosine = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="Ask for at least this cosine.")
]
Formats = Annotated[
    str | None,
    typer.Option(
        "-f",
        "--format",
        metavar="NAMES",
        help="Only these, comma-separated: onnx, executorch, litert, coreml.",
    ),
]
Runtimes = Annotated[
    str | None,
    typer.Option(
        "-r",
        "--runtime",
        metavar="NAMES",
        help="Only what these open: onnxruntime, executorch, litert, coreml.",
    ),
]
# As above, in commands that can open a file in another runtime than its format's own.
AnyRuntime = Annotated[
    str | None,
    typer.Option(
        "-r",
        "--runtime",
        metavar="NAMES",
        help="Only what these open: onnxruntime, executorch, litert, coreml; or tflite-runtime, the"
        " classic one, for .tflite files.",
    ),
]
# What --runtime was called while it took formats.
Engine = Annotated[str | None, typer.Option("--engine", metavar="NAME", hidden=True)]
BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A directory that `edgevit export` wrote.")
]

WHOLE = re.compile(r"-?[0-9]{1,18}")


def words(text: str | None, option: str) -> tuple[str, ...]:
    """A comma list as a tuple, empty where nothing was given; raises `UsageError` on an empty
    list.
    """
    names = tuple(word.strip() for word in (text or "").split(",") if word.strip())
    if text is not None and not names:
        raise UsageError(f"{option} takes names separated by commas, not {text!r}.")
    return names


def numbers(text: str, option: str) -> tuple[int, ...]:
    """A comma list of whole numbers; raises `UsageError`."""
    parts = words(text, option)
    if not all(WHOLE.fullmatch(part) for part in parts):
        raise UsageError(f"{option} takes whole numbers separated by commas, not {text!r}.")
    return tuple(int(part) for part in parts)


def sizes(texts: list[str] | None) -> tuple[tuple[int, ...] | None, ...]:
    """Each `H W` or `HxW`, for video `T H W`; raises `UsageError`. None asked for: the model's own
    size.
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
    """`KEY=VALUE` pairs, whole numbers as such; raises `UsageError`."""
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
