import multiprocessing
import os
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.support.once import NotMade, Shared, root_of_run, writable

# Not forked: a worker may hold JAX, whose threads a fork would leave behind.
SPAWN = multiprocessing.get_context("spawn")


def make(folder: Path) -> Path:
    """Leaves a file, and one line for every time it was called."""
    with (folder.parent / "calls").open("a") as stream:
        stream.write("call\n")
    (folder / "part").mkdir()
    path = folder / "part" / "result.bin"
    path.write_bytes(b"result")
    return path


def calls(root: Path) -> int:
    return len((root / "calls").read_text().splitlines())


def test_a_result_is_made_once_and_is_read_only(tmp_path: Path) -> None:
    first, second = Shared(tmp_path)("x", make), Shared(tmp_path)("x", make)
    assert first == second == tmp_path / "x" / "part" / "result.bin"
    assert first.read_bytes() == b"result"
    assert calls(tmp_path) == 1
    assert first.stat().st_mode & 0o777 == 0o444
    copy = writable(Path(os.fspath(first.parent)))
    assert (copy / "result.bin").stat().st_mode & 0o200


def ask(root: Path, gate: Barrier) -> None:
    gate.wait()
    assert Shared(root)("x", make).read_bytes() == b"result"


def die(root: Path) -> None:
    Shared(root)("x", lambda _: os._exit(9))


def test_processes_wait_for_the_one_that_makes_it(tmp_path: Path) -> None:
    gate = SPAWN.Barrier(4)
    processes = [SPAWN.Process(target=ask, args=(tmp_path, gate)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert calls(tmp_path) == 1


def test_a_failure_is_everybodys_and_is_not_tried_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        make(folder)
        raise ValueError("no such cell")

    for _ in range(2):
        with pytest.raises(NotMade, match=r"x:\n(.|\n)*ValueError: no such cell"):
            Shared(tmp_path)("x", fail)
    assert calls(tmp_path) == 1
    assert Shared(tmp_path)("y", make).exists()


def test_a_process_that_dies_leaves_its_reason_and_no_lock(tmp_path: Path) -> None:
    process = SPAWN.Process(target=die, args=(tmp_path,))
    process.start()
    process.join(30)
    assert process.exitcode == 9
    with pytest.raises(NotMade, match="the process that made x ended in the middle"):
        Shared(tmp_path)("x", make)


def test_what_a_test_changed_is_found(tmp_path: Path) -> None:
    shared = Shared(tmp_path)
    path = shared("x", make)
    shared("y", make)
    assert shared.changed() == []
    writable(path.parent)
    path.write_bytes(b"another")
    assert shared.changed() == ["x"]
    path.write_bytes(b"result")
    (path.parent / "more").touch()
    assert shared.changed() == ["x"]


def test_workers_have_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEVIT_TESTS_SHARE", raising=False)
    of_workers = {root_of_run(tmp_path / name, worker=True) for name in ("gw0", "gw1")}
    assert of_workers == {root_of_run(tmp_path, worker=False)}
