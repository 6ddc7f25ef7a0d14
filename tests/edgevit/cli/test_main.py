import os
import signal
import subprocess
import sys

import pytest

from edgevit.cli import joined_sizes, main

WAITING = "OMP_WAIT_POLICY"


@pytest.mark.parametrize(
    ("given", "joined"),
    [
        ("--input-size 64 96", ["--input-size=64 96"]),
        ("--input-size=64 96", ["--input-size=64 96"]),
        ("--input-size 64x96 -o out", ["--input-size=64x96", "-o", "out"]),
        ("--input-size -64 96", ["--input-size=-64 96"]),
        ("--input-size 64 -96", ["--input-size=64 -96"]),
        ("--input-size 64 -o out", ["--input-size=64", "-o", "out"]),
        ("--input-size 64 --json", ["--input-size=64", "--json"]),
        ("--input-size 64", ["--input-size=64"]),
        ("--input-size", ["--input-size"]),
        ("--input-size a b c", ["--input-size=a b", "c"]),
        (
            "export x --input-size 64 64 --input-size 96 96 -q",
            ["export", "x", "--input-size=64 64", "--input-size=96 96", "-q"],
        ),
        ("--input-sizes 64 64", ["--input-sizes", "64", "64"]),
    ],
)
def test_two_words_of_a_size_become_one(given: str, joined: list[str]) -> None:
    assert joined_sizes(given.split()) == joined


def test_signals_are_what_they_were_when_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("edgevit ")
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)] == before


def test_a_second_ctrl_c_at_once_is_impatience(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgevit.cli import app

    cleaned = []

    def invoke(words: list[str]) -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            cleaned.append("up")
            raise
        return 0

    monkeypatch.setattr(app, "invoke", invoke)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as left:
            main(["export"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert left.value.code == 130
    assert cleaned == ["up"]
    assert capsys.readouterr().err.startswith("Error: Interrupted")


def test_an_ignored_hangup_stays_ignored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgevit.cli import app

    seen: list[object] = []

    def invoke(words: list[str]) -> int:
        seen.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr(app, "invoke", invoke)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            main([])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


@pytest.mark.parametrize(
    ("words", "users", "left"),
    [
        (["export", "topformer-t"], None, "PASSIVE"),
        (["--debug", "verify", "out"], None, "PASSIVE"),
        (["bench", "out"], None, None),
        (["--debug", "bench", "out"], None, None),
        (["export", "topformer-t"], "ACTIVE", "ACTIVE"),
        (["bench", "out"], "PASSIVE", "PASSIVE"),
    ],
)
def test_threads_wait_without_spinning_where_nothing_is_measured(
    words: list[str],
    users: str | None,
    left: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from edgevit.cli import app

    seen: list[str | None] = []

    def invoke(words: list[str]) -> int:
        seen.append(os.environ.get(WAITING))
        return 0

    monkeypatch.setattr(app, "invoke", invoke)
    monkeypatch.setenv(WAITING, users or "")
    if users is None:
        monkeypatch.delenv(WAITING)
    with pytest.raises(SystemExit):
        main(words)
    assert seen == [left]


@pytest.mark.parametrize(
    ("command", "closed", "code", "stderr"),
    [
        ("list", ">&-", 0, "Next: edgevit info"),
        ("list", "2>&-", 0, ""),
        ("list nothing-like-this", ">&- 2>&-", 2, ""),
    ],
)
def test_a_closed_stream_is_no_failure(command: str, closed: str, code: int, stderr: str) -> None:
    program = f"{sys.executable} -c 'import edgevit.cli; edgevit.cli.main()' {command} {closed}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert stderr in done.stderr


# onnx makes its enums while its native module is imported, and what they raise ends the process.
INTERRUPTED_IMPORT = """
import enum, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from edgevit.cli import app, main

create = enum.EnumType.__call__

def interrupted(kind, *arguments, **names):
    if "onnx" in sys.modules and len(arguments) > 1:
        enum.EnumType.__call__ = create
        os.kill(os.getpid(), signal.SIGINT)
    return create(kind, *arguments, **names)

def invoke(words):
    enum.EnumType.__call__ = interrupted
    try:
        import onnx
        signal.pause()
    finally:
        print("onnx.onnx_cpp2py_export" in sys.modules)

app.invoke = invoke
main(["list"])
"""


def test_an_interrupt_waits_for_a_native_module() -> None:
    done = subprocess.run(
        (sys.executable, "-c", INTERRUPTED_IMPORT),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (130, "True\n"), done.stderr
    assert done.stderr.startswith("Error: Interrupted; nothing half-written was left behind.")
