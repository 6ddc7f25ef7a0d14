"""Which formats a command line names, and which runtime opens their files."""

from dataclasses import dataclass
from pathlib import Path

from edgevit.cli.options import words
from edgevit.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """The formats to take, () for all; and the runtime to open them in, None for their own."""

    formats: tuple[str, ...]
    engine: str | None


def choose(
    formats: list[str] | None, runtimes: list[str] | None, engine: str | None = None
) -> Choice:
    """What `--format`, `--runtime` and the older `--engine` say together.

    A runtime selects the formats that it opens. One that is not the default of its format
    (`tflite-runtime`) also opens their files. `--runtime` still takes names of formats, as before
    `--format` existed; so `tflite` means the format litert there. Unknown names are passed on: the
    bundle or the target refuses them and lists what exists. Raises `UsageError` if no format is
    left, and if two runtimes would have to open the same files.
    """
    opened, engines = [], [] if engine is None else [engine]
    for name in words(runtimes, "--runtime"):
        held, own = _runtime(name)
        opened += held
        engines += own
    if len(set(engines)) > 1:
        raise UsageError(
            f"--runtime takes one of {' and '.join(engines)}, not both.",
            next="one command for each runtime",
        )
    named = words(formats, "--format")
    kept = named or tuple(opened)
    if named and opened:
        kept = tuple(name for name in named if _format(name) in map(_format, opened))
        if not kept:
            raise UsageError(
                f"--runtime {','.join(runtimes or ())} opens {', '.join(opened)},"
                f" and --format names {', '.join(named)}.",
                next="leave one of the two out",
            )
    return Choice(kept, engines[0] if engines else None)


def choose_formats(
    command: str, formats: list[str] | None, runtimes: list[str] | None
) -> tuple[str, ...]:
    """The same for a command that opens each file in its format's own runtime."""
    choice = choose(formats, runtimes)
    if choice.engine is not None:
        raise UsageError(
            f"`{command}` opens each file in its format's own runtime, not in {choice.engine}.",
            next=f"edgevit verify BUNDLE --runtime {','.join(runtimes or ())}",
        )
    return choice.formats


def _runtime(name: str) -> tuple[list[str], list[str]]:
    """The formats that a runtime opens, and its name where it is not their own runtime."""
    from edgevit_export.formats import FORMATS
    from edgevit_runtimes.engines import ENGINES, engine_of

    if _format(name) in FORMATS:
        return [name], []
    for entry in ENGINES.values():
        if name in (entry.name, *entry.aliases):
            formats = [f.name for f in FORMATS.values() if f.suffix in entry.suffixes]
            is_own = all(engine_of(Path(f"file{s}")) is entry for s in entry.suffixes)
            return formats, [] if is_own else [entry.name]
    return [name], []


def _format(name: str) -> str:
    from edgevit.request.targets import FORMAT_ALIASES

    return FORMAT_ALIASES.get(name, name)
