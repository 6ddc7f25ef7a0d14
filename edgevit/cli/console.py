"""What a user sees: steps on stderr, results on stdout, failures as one sentence with an exit code."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from edgevit.deploy import Step

INTERRUPTED = 130
ENVIRONMENT = 4
USAGE = 2
FULL = (errno.ENOSPC, errno.EDQUOT)


class Terminal:
    """Steps and remarks on stderr, or nowhere with `quiet`.

    It writes to its own copy of stderr, so that exporters can be silenced without silencing it.
    """

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console

        stream: TextIO = sys.stderr
        if stream.isatty():
            stream = os.fdopen(os.dup(stream.fileno()), "w")
        self.console: Console = Console(file=stream, quiet=quiet, highlight=False)
        self.status = self.console.status("")

    def report(self, step: "Step") -> None:
        """Show one step of `deploy`."""
        match step.kind:
            case "start":
                self.working(step.text)
            case "done":
                self.done(step.text)
            case "note":
                self.note(step.text)

    def working(self, text: str) -> None:
        """Something takes a while: a spinner on a terminal, nothing in a log."""
        if self.console.is_terminal:
            self.status.update(f"{text} …")
            self.status.start()

    def done(self, text: str) -> None:
        """A step ended well."""
        self.status.stop()
        self.console.print(f"[green]✓[/green] {_plain(text)}")

    def note(self, text: str) -> None:
        """A remark the user should not miss."""
        self.status.stop()
        self.console.print(f"[yellow]![/yellow] {_plain(text)}")

    def next(self, command: str) -> None:
        """The line every command ends with."""
        self.status.stop()
        self.console.print(f"[bold]Next:[/bold] {_plain(command)}", soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def print_json(value: object) -> None:
    """One JSON document on stdout and nothing else."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> None:
    """A table on stdout: drawn on a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(row) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    Console(highlight=False).print(table)


def guarded(run: Callable[[], int], debug: bool) -> int:
    """Run a command; every failure becomes a sentence on stderr and an exit code."""
    try:
        return run()
    except KeyboardInterrupt:
        _say("Interrupted; nothing half-written was left behind.", None)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left: that is its right, and no failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    from click.exceptions import Abort, ClickException, Exit

    match error:
        case Exit():
            return error.exit_code
        case Abort():
            _say("Interrupted; nothing half-written was left behind.", None)
            return INTERRUPTED
        case ClickException():
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "edgevit"
            _say(error.format_message(), f"{command} --help")
            return USAGE
        case MemoryError():
            _say("This machine ran out of memory.", "try a smaller --input-size")
            return ENVIRONMENT
        case OSError():
            return _explain_os(error)
    message, code = getattr(error, "message", None), getattr(error, "exit_code", None)
    if isinstance(message, str) and isinstance(code, int):
        _say(message, getattr(error, "next", None))
        return code
    reason: Any = next(iter(str(error).strip().splitlines()), "")
    _say(
        f"edgevit failed in a way it does not know ({type(error).__name__}: {reason}).",
        "run the same command with --debug and report what it prints",
    )
    return 1


def _explain_os(error: OSError) -> int:
    what = f" ({error.filename})" if error.filename else ""
    if error.errno in FULL:
        _say(f"The disk is full{what}; nothing half-written was left behind.", "df -h, then again")
    elif isinstance(error, PermissionError):
        _say(f"Permission denied{what}.", "-o another-directory")
    else:
        _say(f"The system refused: {error.strerror or error}{what}.", "edgevit doctor")
    return ENVIRONMENT


def _say(message: str, command: str | None) -> None:
    sys.stderr.write(f"Error: {message}\n")
    if command:
        sys.stderr.write(f"Next: {command}\n")
