import errno
import os
import pty
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Never

import pytest

from edgevit.cli.console import Terminal, guarded, print_json, print_table, printable
from edgevit.errors import CheckFailed, EnvironmentFailed, MissingDependency, UsageError
from edgevit_export.errors import LoweringFailed, MissingPackage, TooLarge
from edgevit_runtimes.errors import DeviceFailed, RunFailed, UnknownDevice

HELP = "edgevit export --help"


@pytest.mark.parametrize(
    ("error", "code", "sentence", "following"),
    [
        (CheckFailed("It differs.", next="try this"), 1, "It differs.", "try this"),
        (UsageError("No such thing."), 2, "No such thing.", HELP),
        (UsageError("No.", next="-o other"), 2, "No.", "the same command with -o other"),
        (MissingDependency("Needs x.", next="pip install x"), 3, "Needs x.", "pip install x"),
        (EnvironmentFailed("Lost."), 4, "Lost.", HELP),
        (LoweringFailed("It cannot."), 1, "It cannot.", HELP),
        (TooLarge("Too large."), 2, "Too large.", HELP),
        (MissingPackage("Needs y."), 3, "Needs y.", HELP),
        (RunFailed("It broke."), 1, "It broke.", HELP),
        (UnknownDevice("No device."), 2, "No device.", HELP),
        (DeviceFailed("Gone."), 4, "Gone.", HELP),
        (KeyboardInterrupt(), 130, "Interrupted; nothing half", "the same command again"),
        (MemoryError(), 4, "out of memory", "free -h"),
        (ModuleNotFoundError(name="torch"), 3, "This needs torch, which", "edgevit doctor"),
        (OSError(errno.ENOSPC, "x", "/a"), 4, "The disk is full (/a)", "df -h"),
        (OSError(errno.EDQUOT, "x"), 4, "The disk is full;", "df -h"),
        (
            shutil.Error([("a", "b", f"[Errno 28] {os.strerror(errno.ENOSPC)}")]),
            4,
            "The disk is full;",
            "df -h",
        ),
        (PermissionError(errno.EACCES, "no", "/a b"), 4, "Permission denied", "ls -ld /a b"),
        (OSError(errno.EIO, "Input/output error"), 4, "Input/output error", "edgevit doctor"),
        (ZeroDivisionError("division\nby zero"), 1, "(ZeroDivisionError: division)", "--debug"),
        (UsageError("A\x1b[31m name\nof two lines."), 2, "A?[31m name?of two lines.", HELP),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_failure_is_a_sentence_a_step_and_a_code(
    error: BaseException,
    code: int,
    sentence: str,
    following: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgevit.cli import console

    monkeypatch.setattr(console, "_drop_stdout", lambda: None)

    def run() -> Never:
        raise error

    assert guarded(run, False, "export") == code
    told = capsys.readouterr()
    said, then = told.err.splitlines()
    assert said.startswith("Error: ")
    assert sentence in said
    assert then.startswith("Next: ")
    assert following in then
    assert told.out == ""


def test_debug_raises_what_was_raised() -> None:
    def run() -> Never:
        raise UsageError("No.")

    with pytest.raises(UsageError):
        guarded(run, True, "export")


def test_a_log_gets_whole_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with Terminal() as terminal:
        terminal.working("nothing of this")
        terminal.counting("nor of this", 1, 2)
        terminal.done("done " + "word " * 40 + "[bold]end")
        terminal.note("noted " + "word " * 40 + "end")
        terminal.next("edgevit " + "word " * 40 + "end")
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert [line.split()[0] for line in lines] == ["✓", "!", "Next:"]
    assert lines[0].endswith("[bold]end")
    assert all(line.endswith("end") for line in lines)


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(quiet=True) as terminal:
        terminal.working("a")
        terminal.done("b")
        terminal.note("c")
        terminal.next("d")
    assert capsys.readouterr() == ("", "")


def test_tables_in_a_pipe_have_tabs_and_no_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("a", "b"), [["1\t2", "\x1b[2J"], ["ä", "[b]"]], "title")
    assert capsys.readouterr().out == "a\tb\n1?2\t?[2J\nä\t[b]\n"


def shown_as_a_table(columns: int) -> list[str]:
    """The lines that a terminal of 120 characters shows of a table of one row, without colors."""
    told = on_a_terminal(
        f"""
        from edgevit.cli.console import print_table
        heads = ["model", *(f"head{{i}}" for i in range(1, {columns}))]
        cells = ["word of 20_characters_long_"] * {columns - 2}
        print_table(heads, [["[x]-y", "-", *cells]], "T")
        """
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)
    return [line.rstrip() for line in plain.splitlines() if line.strip()]


def test_a_terminal_too_narrow_for_a_table_gets_a_paragraph_a_row() -> None:
    drawn, told = shown_as_a_table(4), shown_as_a_table(9)
    assert drawn[1].split() == ["model", "head1", "head2", "head3"]
    assert drawn[3].split() == ["[x]-y", "-", *["word", "of", "20_characters_long_"] * 2]
    assert told[:2] == ["T", "[x]-y"]
    assert all(line.startswith("  ") and len(line) <= 120 for line in told[2:])
    paragraph = " ".join(line.strip() for line in told[2:])
    assert paragraph == "; ".join(f"head{i} word of 20_characters_long_" for i in range(2, 9))


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": "ü"})
    assert capsys.readouterr().out == '{\n "a": "\\u00fc"\n}\n'


def test_printable_keeps_letters() -> None:
    assert printable("Größe 中 ok") == "Größe 中 ok"
    assert printable("a\nb\x1b\u202e\udc80") == "a?b???"


def on_a_terminal(code: str) -> str:
    """What a Python program shows whose stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        (sys.executable, "-c", textwrap.dedent(code)),
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    ) as process:
        os.close(theirs)
        told = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            told += part
    os.close(ours)
    assert process.returncode == 0, told
    return told.decode()


def test_a_spinner_turns_while_exporters_are_silenced() -> None:
    told = on_a_terminal(
        """
        import os, sys, time
        from edgevit.cli.console import Terminal
        from edgevit_export.quiet import quiet
        with Terminal() as terminal:
            terminal.working("export onnx")
            found = sys.stdout, sys.stderr  # what a library keeps when it is imported now
            time.sleep(0.3)
            with quiet():
                os.write(2, b"native chatter")
                print("printed chatter", file=found[0], flush=True)
                print("printed chatter", file=found[1], flush=True)
                time.sleep(0.5)
                os.write(1, b"native chatter")
            terminal.done("exported model.onnx")
        """
    )
    assert told.count("export onnx") > 4  # drawn again and again
    assert "chatter" not in told
    assert "exported model.onnx" in told
    assert told.rstrip().endswith("\x1b[0m") or told.rstrip().endswith("onnx")


def test_what_moves_ends_before_a_failure_is_told() -> None:
    told = on_a_terminal(
        """
        import time
        from edgevit.cli.console import Terminal, guarded
        from edgevit.errors import UsageError
        def run():
            with Terminal() as terminal:
                terminal.working("verify")
                time.sleep(0.3)
                raise UsageError("It is not there.")
        assert guarded(run, False, "verify") == 2
        """
    )
    shown, _, rest = told.partition("Error: ")
    assert "verify" in shown
    assert shown.rstrip("\r\n").endswith(("\x1b[2K", "\x1b[?25h", "\x1b[1A\x1b[2K"))
    assert rest.splitlines() == ["It is not there.", "Next: edgevit verify --help"]


def test_a_bar_moves_when_told_and_not_by_itself() -> None:
    told = on_a_terminal(
        """
        import threading, time
        from edgevit.cli.console import Terminal
        with Terminal() as terminal:
            terminal.working("load")
            terminal.counting("model.onnx", 1, 4)
            for _ in range(100):  # the spinner's thread ends when it next wakes
                if threading.active_count() > 1:
                    time.sleep(0.05)
            alive = threading.active_count()
            terminal.counting("model.onnx", 3, 4)
        assert alive == 1, "a thread draws while something is timed"
        """
    )
    assert "1/4" in told
    assert "3/4" in told


def test_a_terminal_of_another_encoding_gets_its_lines() -> None:
    told = subprocess.run(
        (
            sys.executable,
            "-c",
            "from edgevit.cli.console import Terminal\nTerminal().done('exported')",
        ),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "LC_ALL": "C"},
    )
    assert b"exported" in told.stderr


def test_the_terminal_is_let_go() -> None:
    told = on_a_terminal(
        """
        import warnings
        warnings.simplefilter("default")
        from edgevit.cli.console import Terminal
        with Terminal() as terminal:
            terminal.done("ended")
        del terminal
        """
    )
    assert "ended" in told
    assert "ResourceWarning" not in told
