"""The command line: parse, call one function, print. No logic of its own, and no torch until a command needs it."""

import re
import sys

from edgevit.cli.console import guarded

SIZE = "--input-size"


def main(arguments: list[str] | None = None) -> None:
    """The `edgevit` program; leaves with DESIGN's exit codes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = joined_sizes([word for word in given if word != "--debug"])

    def run() -> int:
        from edgevit.cli.app import app

        result = app(given, prog_name="edgevit", standalone_mode=False)
        return result if isinstance(result, int) else 0

    sys.exit(guarded(run, debug))


def joined_sizes(words: list[str]) -> list[str]:
    """`--input-size H W` as one word, `HxW`: an option that takes two numbers cannot be repeated otherwise."""
    joined: list[str] = []
    rest = iter(words)
    for word in rest:
        joined.append(word)
        if word == SIZE:
            numbers = [w for w in (next(rest, None), next(rest, None)) if w is not None]
            if len(numbers) == 2 and all(re.fullmatch(r"-?\d+", n) for n in numbers):
                joined.append("x".join(numbers))
            else:
                joined += numbers
    return joined
