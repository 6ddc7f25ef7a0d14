"""A board over a real sshd, whose programs are ARM's."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import to_file
from edgevit.bundle.verify import verify_bundle
from edgevit.difference import difference
from edgevit.measure.bench import bench_bundle
from edgevit_runtimes.device import parse_device
from edgevit_runtimes.devices import open_on
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import BadSetting, DeviceFailed, MissingRuntime, RunFailed
from edgevit_runtimes.runners import ssh
from edgevit_runtimes.runners.ssh import Ssh
from edgevit_runtimes.runners.state import read_state
from tests.support.board import Board, running

pytestmark = pytest.mark.usefixtures("emulated_device")

BOARD = "ssh:board@board"
NEAR = 1e-5
QUICK = {"warmup": 0, "runs": 2, "min_secs": 0.0, "max_secs": 60.0, "repeat": 1}


@pytest.fixture(scope="module")
def started_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    with running(tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture
def board(started_board: Board, monkeypatch: pytest.MonkeyPatch) -> Board:
    monkeypatch.setenv("PATH", f"{started_board.programs}{os.pathsep}{os.environ['PATH']}")
    return started_board


def left_there(board: Board) -> list[str]:
    answer = Ssh("board@board").run("ls -d ${TMPDIR:-/tmp}/edgevit.* 2>/dev/null; true")
    return answer.out.split()


def test_commands_and_files(board: Board, tmp_path: Path) -> None:
    shell = Ssh("board@board")
    answer = shell.run("echo out; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "out\n", "err\n")
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "sent").write_bytes(content)
    there = f"{board.folder}/it's here"
    shell.push(tmp_path / "sent", there)
    shell.pull(there, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    lines: list[str] = []
    assert shell.follow("echo one; echo two; exit 3", lines.append, 20) == 3
    assert lines == ["one", "two"]


def test_its_state_is_told(board: Board) -> None:
    state = read_state(Ssh("board@board"))
    assert state["machine"] == "aarch64"
    assert state["cpu_parts"] == ["0xd0d"]
    assert state["cores"] == 1
    assert isinstance(state["memory_kib"], int)
    assert state["model"] is None


@pytest.mark.parametrize("format_", ["onnx", "executorch", "litert"])
def test_outputs_are_those_of_this_machine(board: Board, host_bundle: Bundle, format_: str) -> None:
    entry = host_bundle.entry(format_)
    path, inputs = (
        host_bundle.path / entry.path,
        [to_file(host_bundle.golden("input"), entry.inputs[0])],
    )
    with open_session(path) as here:
        expected = here.run(*inputs)
    with open_on(parse_device(BOARD), path) as there:
        (folder,) = left_there(board)
        executed = there.run(*inputs)
    for want, got in zip(expected, executed, strict=True):
        assert difference(want, got) <= NEAR
    assert left_there(board) == [], folder


def test_a_bundle_is_verified_and_measured(
    board: Board, host_bundle: Bundle, tmp_path: Path
) -> None:
    device = parse_device(BOARD)
    verified = verify_bundle(host_bundle, ("litert",), device=device)
    assert verified["model.tflite"].status == "executed"
    result = bench_bundle(host_bundle.path, ["litert"], BOARD, output=tmp_path / "r.json", **QUICK)
    (row,) = result.rows
    assert len(row.samples_s) >= 2
    assert row.cold_imports_s == (None,)
    assert row.states[0][0]["machine"] == "aarch64"
    assert result.machine["cpu_parts"] == ["0xd0d"]  # the board's, not this machine's
    assert row.peak_rss_kib is not None
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    assert left_there(board) == []


REFUSED = {
    "silent": ("does not answer", "ping silent"),
    "closed": ("has no ssh server that answers", "ssh -v board@closed true"),
    "stranger": ("is not known to ssh, or its key changed", "ssh board@stranger true"),
    "keyless": ("does not let this user in without a password", "ssh-copy-id board@keyless"),
    "nowhere.invalid": ("is no host that can be found", "ssh -v board@nowhere.invalid true"),
}


@pytest.mark.parametrize("host", list(REFUSED))
def test_a_board_that_is_not_reached_is_one_sentence(
    board: Board, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = tuple(word.replace("ConnectTimeout=10", "ConnectTimeout=1") for word in ssh.OPTIONS)
    monkeypatch.setattr(ssh, "OPTIONS", quick)
    message, following = REFUSED[host]
    with pytest.raises(DeviceFailed) as caught:
        Ssh(f"board@{host}").run("true")
    assert caught.value.message == f"board@{host} {message}."
    assert caught.value.next == following
    assert caught.value.exit_code == 4


def test_a_full_disk_is_one_sentence(board: Board, host_bundle: Bundle) -> None:
    path = host_bundle.path / host_bundle.entry("onnx").path
    with pytest.raises(DeviceFailed, match=r"board@full has no space left\."):
        open_on(parse_device("ssh:board@full"), path)
    assert list((board.folder / "small").glob("*")) == []


def test_a_command_that_hangs_is_given_up(board: Board) -> None:
    with pytest.raises(DeviceFailed, match=r"did not answer within 0\.5 s"):
        Ssh("board@board").run("sleep 20", secs=0.5)
    lines: list[str] = []
    with pytest.raises(DeviceFailed, match="did not finish within 1 s"):
        Ssh("board@board").follow("echo first; sleep 20", lines.append, 1)
    assert lines == ["first"]


def test_a_board_lost_in_the_middle_keeps_what_was_measured(
    board: Board, host_bundle: Bundle, tmp_path: Path
) -> None:
    output, journal = tmp_path / "r.json", tmp_path / "r.json.jsonl"
    settings = {**QUICK, "repeat": 2, "output": output}

    def cut() -> None:
        while not journal.exists() or len(journal.read_text().splitlines()) < 2:
            time.sleep(0.02)
        board.drop()
        while not lost.is_set():
            board.drop()
            time.sleep(0.02)

    lost = threading.Event()
    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with pytest.raises(DeviceFailed, match=r"The connection to board@board was lost"):
            bench_bundle(host_bundle.path, ["litert"], BOARD, **settings)
    finally:
        lost.set()
        cutter.join()
    Ssh("board@board").run("rm -rf $TMPDIR/edgevit.*")  # what a lost board keeps
    assert not output.exists()
    kept = journal.read_text().splitlines()
    assert len(kept) == 2
    result = bench_bundle(host_bundle.path, ["litert"], BOARD, resume=True, **settings)
    assert len(result.rows[0].repeats) == 2
    assert not journal.exists()
    assert output.exists()
    with pytest.raises(BadSetting, match="nothing to go on with"):
        bench_bundle(host_bundle.path, ["litert"], BOARD, resume=True, **settings)


def test_a_runtime_too_old_for_the_file_is_one_sentence(
    board: Board, host_bundle: Bundle, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(host_bundle.path / host_bundle.entry("onnx").path)
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(DeviceFailed, match=r"is too old for it: .*IR version") as caught:
        open_on(parse_device(BOARD), tmp_path / "new.onnx")
    assert caught.value.exit_code == 4


def test_a_damaged_file_is_the_files_fault(
    board: Board, host_bundle: Bundle, tmp_path: Path
) -> None:
    path = host_bundle.path / host_bundle.entry("onnx").path
    (tmp_path / "model.onnx").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(RunFailed, match=r"^model\.onnx: onnxruntime cannot open"):
        open_on(parse_device(BOARD), tmp_path / "model.onnx")
    assert left_there(board) == []


def test_another_machine_is_refused(board: Board, host_bundle: Bundle) -> None:
    machine = board.folder / "uname"
    text = machine.read_text()
    machine.write_text("#!/bin/sh\necho x86_64\n")
    try:
        with pytest.raises(DeviceFailed, match="board@board is x86_64, and the native runner"):
            open_on(parse_device(BOARD), host_bundle.path / host_bundle.entry("onnx").path)
    finally:
        machine.write_text(text)


def test_without_ssh_its_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntime, match="ssh, which reaches boards") as caught:
        Ssh("board@board").run("true")
    assert caught.value.next == "Debian: apt-get install openssh-client"
