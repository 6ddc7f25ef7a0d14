"""The side environment: found, refused, made whole or not at all. Nothing here uses the network."""

import json
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgevit_runtimes.errors import BadSetting, DeviceFailed, MissingRuntime, RuntimesError
from edgevit_runtimes.setup import tflite as setup
from edgevit_runtimes.setup.kept import MARKER, bytes_of
from edgevit_runtimes.setup.tflite import (
    COMMAND,
    PACKAGES,
    WHEELS,
    find_tflite,
    look,
    plan_tflite,
    require_tflite,
    setup_tflite,
    tflite_home,
    wheels_here,
)

Outcome = tuple[int, str, str]


class Commands:
    """Stands in for subprocess.run: makes what venv would, and remembers what was asked."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.variables: list[dict[str, str]] = []
        self.outcomes: dict[str, Outcome | BaseException] = {}
        self.requirements = ""
        self.meanwhile: Callable[[], object] = lambda: None  # of another process

    def run(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        self.seen.append(list(command))
        self.variables.append(options["env"])
        kind = next(k for k in ("venv", "install", "uninstall", "-c") if k in command)
        if kind == "venv":
            (Path(command[-1]) / "bin").mkdir(parents=True)
            self.meanwhile()
            (Path(command[-1]) / "bin" / "python").symlink_to(sys.executable)
        if kind == "install":
            self.requirements = Path(command[-1]).read_text()
        answer = json.dumps(dict(PACKAGES)) if kind == "-c" else ""
        outcome = self.outcomes.get(kind, (0, answer, ""))
        if isinstance(outcome, BaseException):
            raise outcome
        return subprocess.CompletedProcess(command, *outcome)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands()
    monkeypatch.setattr(subprocess, "run", commands.run)
    machine(monkeypatch)
    return commands


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "data" / "tflite"
    monkeypatch.setenv(setup.HOME, str(place))
    return place


def machine(
    monkeypatch: pytest.MonkeyPatch,
    system: str = "Linux",
    kind: str = "x86_64",
    python: tuple[int, int] = (3, 11),
    libc: tuple[str, str] = ("glibc", "2.36"),
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: kind)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(sys, "version_info", (*python, 0, "final", 0))


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    usual = tmp_path / ".local" / "share" / "edgevit" / "tflite-2.14.0"
    assert tflite_home({}) == usual
    assert tflite_home({"XDG_DATA_HOME": ""}) == tflite_home({"XDG_DATA_HOME": "data"}) == usual
    assert tflite_home({"XDG_DATA_HOME": "/x"}) == Path("/x/edgevit/tflite-2.14.0")
    assert tflite_home({"XDG_DATA_HOME": "/x", setup.HOME: "/y/../z"}) == Path("/z")
    monkeypatch.chdir(tmp_path)
    assert tflite_home({setup.HOME: "here"}) == tmp_path / "here"


def test_a_user_without_a_home_names_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv(setup.HOME, raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert find_tflite() is None
    with pytest.raises(DeviceFailed, match="no home directory"):
        require_tflite()


def test_every_pin_has_its_hash() -> None:
    digests = [digest for wheels in WHEELS for digest in wheels.sha256]
    assert len(set(digests)) == len(digests)
    assert all(len(d) == 64 and not set(d) - set("0123456789abcdef") for d in digests)
    assert all(len(wheels.sha256) == len(PACKAGES) for wheels in WHEELS)


@pytest.mark.parametrize(
    ("here", "told"),
    [
        ({"system": "Darwin", "kind": "arm64", "libc": ("", "")}, "Darwin arm64"),
        ({"system": "Windows", "kind": "AMD64", "libc": ("", "")}, "Windows AMD64"),
        ({"python": (3, 12)}, "cpython 3.12 on Linux x86_64 with glibc 2.36"),
        ({"kind": "riscv64"}, "Linux riscv64"),
        ({"libc": ("", "")}, "Linux x86_64"),
        ({"kind": "aarch64", "libc": ("glibc", "2.31")}, "aarch64 with glibc 2.31"),
    ],
)
def test_a_machine_without_files_is_refused_before_anything_is_made(
    here: dict[str, Any], told: str, place: Path, commands: Commands, monkeypatch: Any
) -> None:
    machine(monkeypatch, **here)
    for attempt in (plan_tflite, setup_tflite):
        with pytest.raises(DeviceFailed, match=r"was published for CPython 3\.11") as caught:
            attempt()
        assert told in caught.value.message
        assert caught.value.next is not None
        assert "-r litert" in caught.value.next
    assert commands.seen == []
    assert not place.parent.exists()


@pytest.mark.parametrize("kind", ["x86_64", "aarch64"])
def test_machines_with_files(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, kind=kind)
    assert wheels_here().machine == kind


def test_it_is_made_once_of_exactly_the_pins(
    place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example")
    assert look(place) == "absent"
    assert f"(21 MB) with pip, into an environment of their own: {place}" in plan_tflite()
    steps: list[str] = []
    made, how = setup_tflite(report=steps.append)
    assert (how, made.path, look(place)) == ("made", place, "present")
    assert find_tflite() == require_tflite() == made
    assert len(steps) == 3
    assert commands.requirements.splitlines() == [
        f"{name}=={version} --hash=sha256:{digest}"
        for (name, version), digest in zip(PACKAGES, WHEELS[0].sha256, strict=True)
    ]
    install = commands.seen[1]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(install)
    assert all("-I" in command for command in commands.seen)
    assert all("PIP_TARGET" not in given for given in commands.variables)
    assert all(given["PIP_INDEX_URL"] == "https://mirror.example" for given in commands.variables)
    assert [path.name for path in place.parent.iterdir()] == [place.name]
    assert 0 < bytes_of(made.path) < 10_000

    commands.seen.clear()
    assert setup_tflite() == (made, "found")
    assert commands.seen == []
    (place / "old").touch()
    assert setup_tflite(force=True) == (made, "made")
    assert not (place / "old").exists()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


FAILURES: dict[str, tuple[dict[str, Outcome | BaseException], type[RuntimesError], str]] = {
    "no ensurepip": (
        {"venv": (1, "The virtual environment was not created: ensurepip is not available.", "")},
        MissingRuntime,
        "it has no ensurepip",
    ),
    "no venv": (
        {"venv": (1, "", "Error: [Errno 28] No space left on device: 'x'\n")},
        DeviceFailed,
        "No environment could be made: Error: .Errno 28. No space left",
    ),
    "no file": (
        {"install": (1, "", "WARNING: retrying\nERROR: No matching distribution\nmore\n")},
        DeviceFailed,
        "pip could not install tflite-runtime: No matching distribution",
    ),
    "no words": ({"install": (1, "", "")}, DeviceFailed, "it said nothing"),
    "pip stays": ({"uninstall": (1, "", "ERROR: no")}, DeviceFailed, "could not remove itself: no"),
    "no import": (
        {"-c": (1, "", "Traceback\nImportError: GLIBC_2.99 not found\n")},
        DeviceFailed,
        "cannot be imported: ImportError: GLIBC_2.99 not found",
    ),
    "other versions": ({"-c": (0, '{"numpy": "2.0"}', "")}, DeviceFailed, "other versions"),
    "a hang": ({"install": subprocess.TimeoutExpired("pip", 1)}, DeviceFailed, "longer than 900 s"),
    "no process": ({"venv": PermissionError(13, "Permission denied")}, DeviceFailed, "Permission"),
}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_leaves_what_was_there(
    name: str, force: bool, place: Path, commands: Commands
) -> None:
    if force:
        setup_tflite()
    outcomes, kind, sentence = FAILURES[name]
    commands.outcomes = outcomes
    with pytest.raises(kind, match=sentence) as caught:
        setup_tflite(force)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.next is not None
    assert look(place) == ("present" if force else "absent")
    assert [path.name for path in place.parent.iterdir()] == ([place.name] if force else [])


def test_an_interrupt_leaves_nothing(place: Path, commands: Commands) -> None:
    commands.outcomes = {"install": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        setup_tflite()
    assert list(place.parent.iterdir()) == []


def test_a_rename_that_fails_brings_the_old_one_back(
    place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = setup_tflite()
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(DeviceFailed, match=r"could not be written to .*: No space left on device"):
        setup_tflite(force=True)
    assert find_tflite() == made
    assert [path.name for path in place.parent.iterdir()] == [place.name]


@pytest.mark.parametrize("force", [False, True])
def test_two_at_once_do_not_meet(
    force: bool, place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers that share a volume are both process 1; the second one of them fails."""
    monkeypatch.setattr(os, "getpid", lambda: 1)

    def second() -> None:
        commands.meanwhile = lambda: None
        commands.outcomes = {"install": (1, "", "ERROR: no network")}
        with pytest.raises(DeviceFailed, match="no network"):
            setup_tflite(force)
        commands.outcomes = {}

    commands.meanwhile = second
    assert setup_tflite(force)[1] == "made"
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_the_environment_of_a_faster_process_stays(place: Path, commands: Commands) -> None:
    def second() -> None:
        commands.meanwhile = lambda: None
        setup_tflite()
        (place / "theirs").touch()

    commands.meanwhile = second
    assert setup_tflite()[1] == "found"
    assert (place / "theirs").exists()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_files_that_came_meanwhile_are_never_removed(place: Path, commands: Commands) -> None:
    def somebody() -> None:
        place.mkdir()
        (place / "thesis.tex").touch()

    commands.meanwhile = somebody
    with pytest.raises(BadSetting, match="never removed"):
        setup_tflite(force=True)
    assert (place / "thesis.tex").exists()
    assert [path.name for path in place.parent.iterdir()] == [place.name]


def test_what_another_process_left_stays_and_blocks_nothing(
    place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    setup_tflite()
    left = [place.with_name(f".{place.name}.{word}-1") for word in ("partial", "old")]
    for directory in left:
        directory.mkdir()
        (directory / "theirs").touch()
    assert setup_tflite(force=True)[1] == "made"
    assert all((directory / "theirs").exists() for directory in left)


def test_a_planted_link_is_neither_followed_nor_removed(
    tmp_path: Path, place: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of before, and by a guess that is right."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(secrets, "token_hex", lambda *_: "0" * 16)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    place.parent.mkdir(parents=True)
    before = place.with_name(f".{place.name}.partial-1")
    guess = place.parent / f".edgevit.partial-{'0' * 16}"
    for link in (before, guess):
        link.symlink_to(theirs)
    with pytest.raises(DeviceFailed, match="File exists"):
        setup_tflite()
    monkeypatch.undo()
    monkeypatch.setenv(setup.HOME, str(place))
    monkeypatch.setattr(subprocess, "run", commands.run)
    machine(monkeypatch)
    assert setup_tflite()[1] == "made"
    assert not place.is_symlink()
    assert before.is_symlink()
    assert guess.is_symlink()
    assert list(theirs.iterdir()) == []


def test_files_of_somebody_else_are_never_removed(place: Path, commands: Commands) -> None:
    place.mkdir(parents=True)
    assert look(place) == "absent"  # an empty directory is nobody's work
    (place / "thesis.tex").touch()
    assert look(place) == "foreign"
    for force in (False, True):
        with pytest.raises(BadSetting, match="never removed"):
            setup_tflite(force)
    assert (place / "thesis.tex").exists()
    assert commands.seen == []


def python_gone(place: Path) -> None:
    (place / "bin" / "python").unlink()
    (place / "bin" / "python").symlink_to(place / "gone")


def other_packages(place: Path) -> None:
    (place / MARKER).write_text(json.dumps({"packages": {"numpy": "1.25.0"}}))


def no_json(place: Path) -> None:
    (place / MARKER).write_bytes(b"\xff{")


def another_value(place: Path) -> None:
    (place / MARKER).write_text("[1]")


def too_long(place: Path) -> None:
    (place / MARKER).write_text(" " * 20_000)


@pytest.mark.parametrize("harm", [python_gone, other_packages, no_json, another_value, too_long])
def test_one_that_does_not_work_is_made_again_on_the_users_word(
    harm: Callable[[Path], None], place: Path, commands: Commands
) -> None:
    setup_tflite()
    harm(place)
    assert look(place) == "broken"
    assert find_tflite() is None
    with pytest.raises(MissingRuntime, match="no longer works") as caught:
        require_tflite()
    assert caught.value.next == f"{COMMAND} --force"
    with pytest.raises(BadSetting, match="no longer works"):
        setup_tflite()
    assert setup_tflite(force=True)[1] == "made"


def test_an_absent_one_is_told_with_the_command(place: Path) -> None:
    with pytest.raises(MissingRuntime, match="which is not set up") as caught:
        require_tflite()
    assert (caught.value.next, caught.value.exit_code) == (COMMAND, 3)
