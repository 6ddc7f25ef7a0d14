"""What a user sees: steps on stderr, results on stdout, failures as one sentence with an exit
code.
"""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from edgevit.steps import Step

USAGE, MISSING, ENVIRONMENT, INTERRUPTED = 2, 3, 4, 130
FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_WORD = 32  # that a table keeps on one line
SHOWN_SECS = 1.0  # a step that took longer says how long


class Terminal:
    """Steps and remarks on stderr, or nowhere with `quiet`.

    On a terminal it writes to its own copy of stderr, so that exporters can be silenced without
    silencing it; a log gets one line a step, never wrapped. As a context it ends what moves
    before a failure is printed.
    """

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console

        stream: TextIO = sys.stderr
        self.live = stream.isatty() and not quiet
        if self.live:
            stream = os.fdopen(
                os.dup(stream.fileno()), "w", encoding=stream.encoding, errors="backslashreplace"
            )
        self.console: Console = Console(file=stream, quiet=quiet, highlight=False)
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.started: float | None = None

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
        """Something takes a while: a spinner and a clock on a terminal, nothing in a log."""
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

        self.started = monotonic()
        self._show(text, SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())

    def counting(self, text: str, done: int, total: int) -> None:
        """A progress bar that moves only on calls, never by itself: a clock would disturb the
        timing.
        """
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

        if self.progress is None or self.started is not None:  # nothing moves, or a clock does
            self.stop()
            columns = BarColumn(30), MofNCompleteColumn(), TextColumn("{task.description}")
            self._show(text, *columns, total=total, moving=False)
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=plain(text), completed=done, refresh=True)

    def done(self, text: str) -> None:
        """A step ended well."""
        took = 0.0 if self.started is None else monotonic() - self.started
        self.stop()
        time = f" [dim]({took:.1f} s)[/dim]" if took > SHOWN_SECS else ""
        self.console.print(f"[green]✓[/green] {plain(text)}{time}", soft_wrap=True)

    def note(self, text: str) -> None:
        """A note that the user should not miss."""
        self.stop()
        self.console.print(f"[yellow]![/yellow] {plain(text)}", soft_wrap=True)

    def next(self, command: str) -> None:
        """The line every command ends with."""
        self.stop()
        self.console.print(f"[bold]Next:[/bold] {plain(command)}", soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.live:
            self.console.file.close()  # our own copy

    def stop(self) -> None:
        """End what moves, so that other lines can be written."""
        self.started = None
        self._still()

    def _still(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None

    def _show(
        self, text: str, *columns: Any, total: int | None = None, moving: bool = True
    ) -> None:
        from rich.progress import Progress

        self._still()
        if not self.live:
            return
        # sys.stdout and sys.stderr stay what they are: libraries keep what they find there when
        # they are imported, and what they print later must not come through this copy of stderr.
        self.progress = Progress(
            *columns,
            console=self.console,
            transient=True,
            auto_refresh=moving,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task = self.progress.add_task(plain(text), total=total)
        self.progress.start()


def printable(text: str) -> str:
    """Text from a file or an argument without what would steer a terminal or break a line."""
    return "".join(c if c.isprintable() else "?" for c in text)


def plain(text: str) -> str:
    """Printable text whose brackets are no markup of rich."""
    from rich.markup import escape

    return escape(printable(text))


def print_json(value: object) -> None:
    """One JSON document on stdout and nothing else."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
    sys.stdout.flush()  # before the lines on stderr that follow, in a log of both


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> None:
    """A table on stdout: drawn on a terminal, a paragraph a row where that is too narrow for it,
    tab-separated in a pipe.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            sys.stdout.write("\t".join(printable(cell) for cell in row) + "\n")
        sys.stdout.flush()
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    heads, cells = list(columns), [[plain(cell) for cell in row] for row in rows]
    if _least_width(heads, cells) > console.width:
        _print_paragraphs(console, heads, cells, title)
        return
    table = Table(title=plain(title) or None, title_justify="left", box=SIMPLE_HEAD)
    for index, column in enumerate(heads):
        words = [row[index] for row in cells]
        whole = all(" " not in word and len(word) <= LONGEST_WORD for word in words)
        table.add_column(column, overflow="fold", no_wrap=whole)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _least_width(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> int:
    """Characters a line that a table needs to break no word of up to `LONGEST_WORD`."""
    least = 1
    for index, head in enumerate(heads):
        words = [word for row in cells for word in row[index].split()] + head.split()
        least += 3 + min(max(map(len, words), default=0), LONGEST_WORD)  # 3: what is between two
    return least


def _print_paragraphs(
    console: "Console", heads: Sequence[str], cells: Sequence[Sequence[str]], title: str
) -> None:
    """The first cell of each row, and the other cells below it."""
    from rich.padding import Padding

    if title:
        console.print(plain(title))
    for row in cells:
        console.print(f"[bold]{row[0]}[/bold]")
        pairs = zip(heads[1:], row[1:], strict=True)
        line = "; ".join(f"[dim]{head}[/dim] {cell}" for head, cell in pairs if cell != "-")
        console.print(Padding(line, (0, 0, 0, 2)))


def guarded(run: Callable[[], int], debug: bool, command: str) -> int:
    """Run a command; every failure becomes a sentence on stderr and an exit code."""
    helping = " ".join(("edgevit", *command.split(), "--help"))
    try:
        code = run()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        _say("Interrupted; nothing half-written was left behind.", "the same command again")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left: that is its right, and no failure of ours.
        _drop_stdout()
        return 0
    except Exception as error:  # the last door: behind it there are only tracebacks
        if debug:
            raise
        return _explain(error, helping)


def _explain(error: Exception, helping: str) -> int:
    message, code = getattr(error, "message", None), getattr(error, "exit_code", None)
    usage = getattr(error, "format_message", None)  # of typer, by any of its names
    match error:
        case _ if usage is not None:
            context = getattr(error, "ctx", None)
            _say(_sentence(usage()), f"{context.command_path} --help" if context else helping)
            return USAGE
        case _ if isinstance(message, str) and isinstance(code, int):
            following = getattr(error, "next", None) or helping
            if following.startswith("-"):
                following = f"the same command with {following}"
            _say(message, following)
            return code
        case MemoryError():
            _say("This machine ran out of memory.", "free -h")
            return ENVIRONMENT
        case ModuleNotFoundError():
            _say(f"This needs {error.name}, which is not installed.", "edgevit doctor")
            return MISSING
        case OSError():
            return _explain_os(error)
    reason = next(iter(str(error).strip().splitlines()), "")
    name = type(error).__name__
    _say(
        f"edgevit failed in a way it does not know ({name}: {reason}).",
        "the same command with --debug, and report what it prints",
    )
    return 1


def _explain_os(error: OSError) -> int:
    what = f" ({error.filename})" if error.filename else ""
    # shutil.copytree puts the errors of all files into one that has no number.
    full = isinstance(error, shutil.Error) and os.strerror(errno.ENOSPC) in str(error)
    if full or error.errno in FULL:
        _say(f"The disk is full{what}; nothing half-written was left behind.", "df -h")
        _drop_stdout()
    elif isinstance(error, PermissionError):
        _say(f"Permission denied{what}.", f"ls -ld {error.filename or '.'}")
    else:
        _say(f"The system refused: {error.strerror or error}{what}.", "edgevit doctor")
    return ENVIRONMENT


def _drop_stdout() -> None:
    """What stdout still holds goes nowhere, or Python would complain of it when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # an embedding program's stdout has no descriptor
        return


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "?")) else f"{text}."


def _say(message: str, command: str) -> None:
    sys.stderr.write(f"Error: {printable(message)}\nNext: {printable(command)}\n")
