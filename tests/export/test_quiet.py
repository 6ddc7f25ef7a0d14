"""Nothing an exporter says reaches the terminal, and everything is as before afterwards."""

import logging
import os
import sys
from pathlib import Path

import pytest

from edgevit_export.quiet import quiet

# In a process of its own: pytest puts streams of its own in the place of sys.stdout.
SHOUTS = """
import logging, os, subprocess, sys
from edgevit_export.quiet import quiet

def shout():
    print("python out")
    print("python err", file=sys.stderr)
    os.write(1, b"native out")
    os.write(2, b"native err")
    subprocess.run("echo child; echo child >&2", shell=True, check=True)
    logging.getLogger("chatty").error("logged")

sys.stdout.write("before, unflushed; ")
try:
    with quiet():
        shout()
        {end}
except BaseException as error:
    print(repr(error), end="; ")
print("after")
print("err after", file=sys.stderr)
logging.getLogger("x").error("log after")
"""


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("pass", ""),
        ("raise ValueError('x')", "ValueError('x'); "),
        ("raise KeyboardInterrupt", "KeyboardInterrupt(); "),
        ("sys.exit(3)", "SystemExit(3); "),
    ],
)
def test_nothing_gets_out_and_the_terminal_comes_back(end, shown, run_python):
    done = run_python("-c", SHOUTS.replace("{end}", end))
    assert done.returncode == 0
    assert done.stdout == f"before, unflushed; {shown}after\n"
    assert done.stderr == "err after\nlog after\n"


def open_descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def fail():
    with quiet():
        raise ValueError


def test_descriptors_and_logging_are_restored_after_an_exception(capfd):
    before, level = open_descriptors(), logging.root.manager.disable
    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert open_descriptors() == before
    assert logging.root.manager.disable == level
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_no_descriptor_is_left_open():
    before = open_descriptors()
    for _ in range(20):
        with quiet():
            os.write(1, b"x")
    assert open_descriptors() == before


def test_it_nests(capfd):
    with quiet():
        with quiet():
            os.write(1, b"inner")
        os.write(1, b"outer")
    os.write(1, b"after")
    assert capfd.readouterr().out == "after"


def test_logging_is_as_quiet_or_loud_as_before(caplog):
    logging.disable(logging.DEBUG)
    try:
        with quiet():
            logging.getLogger("x").error("held back")
        assert logging.root.manager.disable == logging.DEBUG
        logging.getLogger("x").error("said")
    finally:
        logging.disable(logging.NOTSET)
    assert caplog.messages == ["said"]


def test_python_streams_stay_the_same_objects():
    streams = sys.stdout, sys.stderr
    with quiet():
        assert (sys.stdout, sys.stderr) == streams
    assert (sys.stdout, sys.stderr) == streams
