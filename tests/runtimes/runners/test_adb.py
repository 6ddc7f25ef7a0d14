"""Phones through a pretended adb, which answers as adb 34 does: what is said of each failure."""

from pathlib import Path

import pytest

from edgevit_runtimes.errors import DeviceFailed, MissingRuntime
from edgevit_runtimes.runners.adb import Adb, Phone, choose, phones

# Commands are run by this machine's shell; what the phone answers to them is in files.
PRETENDED = """#!/bin/sh
here=$(dirname "$0")
case "$1" in
  devices) cat "$here/devices"; cat "$here/devices.err" >&2 2>/dev/null; exit $(cat "$here/rc") ;;
esac
shift 2
if [ -s "$here/lost" ]; then cat "$here/lost" >&2; exit 1; fi
case "$1" in
  shell) sh -c "$2" ;;
  push) if [ -s "$here/full" ]; then cat "$here/full" >&2; exit 1; fi; cp "$2" "$3" ;;
  pull) cp "$2" "$3" ;;
esac
"""
HEAD = "List of devices attached\n"


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "adb"
    folder.mkdir()
    (folder / "adb").write_text(PRETENDED)
    (folder / "adb").chmod(0o755)
    (folder / "devices").write_text(HEAD + "A1\tdevice\n\n")
    (folder / "rc").write_text("0")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def test_the_only_phone_is_taken(adb: Path) -> None:
    assert phones() == (Phone("A1", "device"),)
    assert choose(None) == choose("A1") == Adb("A1")
    (adb / "devices").write_text(HEAD + "A1 unauthorized usb:1-1\nB2 device product:x\n")
    assert choose(None) == Adb("B2")


@pytest.mark.parametrize(
    ("listed", "serial", "message", "following"),
    [
        ("", None, "adb sees no phone. USB debugging", "adb devices"),
        ("A1\tdevice\nB2\tdevice\n", None, "There are 2 phones, A1 and B2", "--device adb:A1"),
        ("A1\tdevice\n", "C3", "adb sees no phone C3; it sees A1.", "adb devices"),
        ("A1\tunauthorized\n", None, "A1 has not allowed this computer", "adb devices"),
        ("A1\toffline\n", "A1", "The phone A1 does not answer.", "adb reconnect"),
        ("A1\tno permissions (x); see\n", None, "udev rules", "adb devices"),
    ],
)
def test_no_phone_to_take(
    adb: Path, listed: str, serial: str | None, message: str, following: str
) -> None:
    (adb / "devices").write_text(HEAD + listed)
    with pytest.raises(DeviceFailed) as caught:
        choose(serial)
    assert message in caught.value.message
    assert caught.value.next == following
    assert caught.value.exit_code == 4


def test_an_adb_that_does_not_work(adb: Path) -> None:
    (adb / "rc").write_text("1")
    (adb / "devices.err").write_text("* failed to start daemon\nadb: cannot connect to daemon\n")
    with pytest.raises(DeviceFailed, match="adb does not work: adb: cannot connect to daemon"):
        phones()


def test_commands_and_files(adb: Path, tmp_path: Path) -> None:
    phone = Adb("A1")
    answer = phone.run("echo 'it'\"'\"'s out'; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "it's out\n", "err\n")
    assert phone.run("printf 'no newline'").out == "no newline"
    (tmp_path / "sent").write_bytes(b"\0\xff")
    phone.push(tmp_path / "sent", str(tmp_path / "there"))
    phone.pull(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\0\xff"
    lines: list[str] = []
    assert phone.follow("echo one; printf two; exit 3", lines.append, 20) == 3
    assert lines == ["one", "two"]


@pytest.mark.parametrize(
    ("said", "message", "following"),
    [
        ("error: device 'A1' not found", "was lost: device 'A1' not found.", "adb devices"),
        ("adb: device 'A1' not found", "was lost: device 'A1' not found.", "adb devices"),
        ("error: closed", "was lost: closed.", "adb devices"),
        ("error: device unauthorized.\nThis adb", "has not allowed this computer", "adb devices"),
        ("adb: cannot connect to daemon", "The adb server is gone.", "adb start-server"),
    ],
)
def test_a_phone_that_is_lost(
    adb: Path, tmp_path: Path, said: str, message: str, following: str
) -> None:
    (adb / "lost").write_text(said)
    phone = Adb("A1")
    (tmp_path / "file").touch()
    for what in (
        lambda: phone.run("true"),
        lambda: phone.follow("true", lambda _: None, 20),
        lambda: phone.push(tmp_path / "file", "/x"),
        lambda: phone.pull("/x", tmp_path / "file"),
    ):
        with pytest.raises(DeviceFailed) as caught:
            what()
        assert message in caught.value.message
        assert caught.value.next == following


def test_a_phone_without_space(adb: Path, tmp_path: Path) -> None:
    (adb / "full").write_text("adb: error: failed to copy 'x' to '/y': No space left on device\n")
    (tmp_path / "file").touch()
    with pytest.raises(DeviceFailed, match="the phone A1 has no space left"):
        Adb("A1").push(tmp_path / "file", "/y")
    with pytest.raises(DeviceFailed, match="could not read /nowhere"):
        Adb("A1").pull("/nowhere", tmp_path / "back")


def test_without_adb_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntime, match="adb, which reaches phones") as caught:
        phones()
    assert caught.value.next == "Debian: apt-get install adb"
