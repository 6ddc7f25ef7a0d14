import json
import os
import secrets
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgevit.bundle.manifest import MAX_BYTES, dump
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.sealing import (
    OURS,
    STOPS,
    check_destination,
    check_output_file,
    check_writable,
    sealed,
    uninterrupted,
    whole_file,
)
from edgevit.errors import EnvironmentFailed, UsageError


def fake_bundle(path: Path, content: str = "old") -> Path:
    path.mkdir(parents=True)
    (path / MANIFEST).write_text(json.dumps({"schema": 1, "edgevit": "0"}))
    (path / "README.md").write_text(content)
    return path


def fail_in(path: Path, failure: BaseException, also: Path | None = None) -> None:
    """Write half a bundle, and a file beside it, and fail."""
    with sealed(path, force=True) as folder:
        (folder / "half").write_text("x" * 999)
        if also is not None:
            also.touch()
        raise failure


def names(place: Path) -> list[str]:
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))


def test_what_an_export_writes_is_what_force_may_remove(host_bundle: Bundle) -> None:
    assert {path.name for path in host_bundle.path.iterdir()} <= OURS


@pytest.mark.parametrize("name", ["out", "new/below/it", ".hidden", "with space"])
def test_a_new_place_is_fine(tmp_path: Path, name: str) -> None:
    check_destination(tmp_path / name, force=False)
    with sealed(tmp_path / name, force=False) as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / name).exists()
        assert folder.parent == (tmp_path / name).parent
    assert (tmp_path / name / "a").read_text() == "x"
    assert all(".partial-" not in found and ".old-" not in found for found in names(tmp_path))


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with sealed(tmp_path / "out", force=False) as folder:
        (folder / "a").touch()
    assert names(tmp_path) == ["out", "out/a"]


def test_a_bundle_is_replaced_with_force_alone(tmp_path: Path) -> None:
    place = fake_bundle(tmp_path / "out")
    with pytest.raises(UsageError, match="holds a bundle already") as refused:
        check_destination(place, force=False)
    assert refused.value.next == "--force"
    with sealed(place, force=True) as folder:
        (folder / "new").touch()
        assert (place / "README.md").read_text() == "old"
    assert names(tmp_path) == ["out", "out/new"]


@pytest.mark.parametrize("manifest", ["", "{", '{"edgevit', "[1]"])
def test_a_broken_manifest_that_is_not_ours_is_kept(tmp_path: Path, manifest: str) -> None:
    place = fake_bundle(tmp_path / "out")
    (place / MANIFEST).write_text(manifest)
    with pytest.raises(UsageError, match="not an edgevit bundle"):
        check_destination(place, force=True)


def test_a_bundle_of_a_broken_or_newer_manifest_is_replaced(tmp_path: Path) -> None:
    place = fake_bundle(tmp_path / "out")
    (place / MANIFEST).write_text('{"schema": 99, "edgevit": "9", ')
    check_destination(place, force=True)


def test_what_is_not_of_the_bundle_is_never_removed(tmp_path: Path) -> None:
    place = fake_bundle(tmp_path / "out")
    (place / "segmented").mkdir()
    with pytest.raises(UsageError, match="contains segmented, which is not part of the bundle"):
        check_destination(place, force=True)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, SystemExit, GeneratorExit])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_stays_of_a_failure(
    tmp_path: Path, failure: type[BaseException], existing: bool
) -> None:
    place = tmp_path / "a" / "b" / "out"
    if existing:
        fake_bundle(place)
    before = names(tmp_path)
    with pytest.raises(failure):
        fail_in(place, failure())
    assert names(tmp_path) == before


def test_parents_that_others_use_by_then_stay(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"):
        fail_in(tmp_path / "a" / "out", OSError("full"), also=tmp_path / "a" / "theirs")
    assert names(tmp_path) == ["a", "a/theirs"]


def test_a_place_is_asked_for_before_the_work_and_after_it(tmp_path: Path) -> None:
    place = tmp_path / "out"

    def write(done: list[str]) -> None:
        with sealed(place, force=False) as folder:
            (folder / "new").touch()
            done.append("written")
            if not place.exists():
                fake_bundle(place, "of somebody who was faster")

    for done in (["written"], []):
        found: list[str] = []
        with pytest.raises(UsageError, match="holds a bundle already"):
            write(found)
        assert found == done
        assert names(tmp_path) == ["out", "out/README.md", "out/manifest.json"]


def test_what_was_removed_meanwhile_hides_no_failure(tmp_path: Path) -> None:
    def fail_in_directory() -> None:
        with sealed(tmp_path / "out", force=False) as folder:
            shutil.rmtree(folder)
            raise OSError("full")

    def fail_in_file() -> None:
        with whole_file(tmp_path / "a.json") as partial:
            partial.unlink()
            raise OSError("full")

    for fail in (fail_in_directory, fail_in_file):
        with pytest.raises(OSError, match="full"):
            fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize(("earlier", "nth"), [(True, 1), (True, 2), (False, 1)])
def test_an_interrupt_of_a_rename_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool, nth: int
) -> None:
    place = tmp_path / "out"
    if earlier:
        fake_bundle(place)
    before = names(tmp_path)
    rename, calls = Path.rename, []

    def stopped(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt), sealed(place, force=True):
        pass
    assert names(tmp_path) == before
    if earlier:
        assert (place / "README.md").read_text() == "old"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run behind a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_does_not_stop_the_cleaning_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctrl_c: None
) -> None:
    remove = shutil.rmtree

    def impatient(path: Path, ignore_errors: bool = False) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", impatient)
    with pytest.raises(OSError, match="full"):
        fail_in(tmp_path / "out", OSError("full"))
    assert names(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_holding_interrupts_off_is_no_matter_of_other_threads() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []

    def run() -> None:
        with uninterrupted():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [before]


def test_a_place_inside_a_bundle_is_refused(tmp_path: Path) -> None:
    place = fake_bundle(tmp_path / "out")
    with pytest.raises(UsageError, match="would no longer verify"):
        check_destination(place / "deeper" / "inner", force=False)
    with pytest.raises(UsageError, match="would no longer verify"):
        check_writable(place / "segmented")
    with pytest.raises(UsageError, match="would no longer verify"):
        check_writable(place)


def test_the_working_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for path in (Path(), Path(".."), tmp_path / "a", Path("x/..")):
        with pytest.raises(UsageError, match="is the current directory"):
            check_destination(path, force=False)
    check_destination(Path("../c"), force=False)


def test_read_only_places_are_refused_for_root_too(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.mkdir(mode=0o555)
    with pytest.raises(EnvironmentFailed, match="kept is read-only"):
        check_destination(place, force=False)
    with pytest.raises(EnvironmentFailed, match="kept cannot be written to"):
        check_destination(place / "out", force=False)
    with pytest.raises(EnvironmentFailed, match="kept cannot be written to"):
        check_writable(place / "deeper")


def test_read_only_file_systems_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(EnvironmentFailed, match="kept is read-only"):
        check_destination(tmp_path / "kept", force=False)
    with pytest.raises(EnvironmentFailed, match="cannot be written to"):
        check_writable(tmp_path)


def test_places_of_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK | os.X_OK)
    with pytest.raises(EnvironmentFailed, match="cannot be written to"):
        check_writable(tmp_path)


def test_files_and_links_are_no_places(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    fake_bundle(tmp_path / "real")
    (tmp_path / "to-bundle").symlink_to(tmp_path / "real")
    for name in ("file", "link", "to-bundle", "file/below", "link/below"):
        with pytest.raises(UsageError, match="is a file"):
            check_destination(tmp_path / name, force=True)
    with pytest.raises(UsageError, match="is a file"):
        check_writable(tmp_path / "file")


def test_a_place_may_lie_behind_a_linked_directory(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with sealed(tmp_path / "link" / "out", force=False) as folder:
        (folder / "a").touch()
    assert (tmp_path / "disk" / "out" / "a").exists()


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with whole_file(path) as partial:
        partial.write_text("first")
        assert not path.exists()

    def fail(failure: BaseException) -> None:
        with whole_file(path) as partial:
            partial.write_text("sec")
            raise failure

    for failure in (OSError("full"), KeyboardInterrupt()):
        with pytest.raises(type(failure)):
            fail(failure)
    assert names(tmp_path) == ["result.json"]
    assert path.read_text() == "first"


def test_a_file_that_cannot_be_written_is_told_before(tmp_path: Path) -> None:
    check_output_file(tmp_path / "new.json")
    (tmp_path / "old.json").touch()
    check_output_file(tmp_path / "old.json")
    with pytest.raises(UsageError, match="is a directory, not a file"):
        check_output_file(tmp_path)
    with pytest.raises(UsageError, match="There is no directory"):
        check_output_file(tmp_path / "none" / "a.json")
    with pytest.raises(UsageError, match="is a file"):
        check_output_file(tmp_path / "old.json" / "a.json")


@pytest.fixture
def process_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two containers that share a volume are both process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)


def test_two_at_once_do_not_meet(tmp_path: Path, process_1: None) -> None:
    with sealed(tmp_path / "out", force=True) as first:
        (first / "first").touch()
        with pytest.raises(OSError, match="full"):
            fail_in(tmp_path / "out", OSError("full"))
        with sealed(tmp_path / "other", force=True) as second:
            (second / "second").touch()
        assert (first / "first").exists()
    assert names(tmp_path) == ["other", "other/second", "out", "out/first"]

    with whole_file(tmp_path / "a.json") as one:
        with whole_file(tmp_path / "a.json") as two:
            two.write_text("two")
        one.write_text("one")
    assert (tmp_path / "a.json").read_text() == "one"


@pytest.mark.parametrize("left", [".out.partial-1", ".out.old-1"])
def test_what_another_process_left_stays_and_blocks_nothing(
    tmp_path: Path, process_1: None, left: str
) -> None:
    place = fake_bundle(tmp_path / "out")
    theirs = fake_bundle(tmp_path / left) / "README.md"
    with sealed(place, force=True) as folder:
        (folder / "new").touch()
    assert (place / "new").exists()
    with pytest.raises(UsageError):
        fail_in(tmp_path / "else", UsageError("no"))
    assert theirs.read_text() == "old"


def test_a_planted_link_is_neither_followed_nor_removed(
    tmp_path: Path, process_1: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the names of before, and by a guess that is right."""
    kept = tmp_path / "kept"
    kept.write_text("mine")
    monkeypatch.setattr(secrets, "token_hex", lambda *_: "0" * 16)
    with whole_file(tmp_path / "a.json") as partial:
        name = partial.name
    for link in (tmp_path / ".a.json.partial-1", tmp_path / name):
        link.symlink_to(kept)
    with pytest.raises(FileExistsError), whole_file(tmp_path / "a.json") as partial:
        partial.write_text("theirs")
    monkeypatch.undo()
    with whole_file(tmp_path / "a.json") as partial:
        partial.write_text("ours")
    assert kept.read_text() == "mine"
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "a.json").read_text() == "ours"
    assert not (tmp_path / "a.json").is_symlink()


def test_files_and_directories_have_the_mode_of_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "directory").mkdir()
    with whole_file(tmp_path / "a.json") as partial:
        partial.write_text("x")
    with sealed(tmp_path / "out", force=False):
        pass
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "directory").stat().st_mode


def test_the_longest_name_has_room_for_a_hidden_one(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("a" * 250 + ".json")) as partial:
        partial.write_text("x")
    with sealed(tmp_path / ("b" * 255), force=False):
        pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("golden/mine.txt", "file"),
        ("golden/mine.npy", "file"),
        ("golden/deep/mine.txt", "file"),
        ("golden/empty", "directory"),
        ("model.mlpackage/mine.txt", "file"),
        ("model.mlpackage/Data/com.apple.CoreML/weights/mine.bin", "file"),
        ("model.mlpackage/Data/empty", "directory"),
        ("golden/mine", "link"),
        ("model.aimodel", "file"),
    ],
)
def test_force_removes_no_file_of_the_user(
    bundle_copy: Callable[[], Bundle], name: str, kind: str
) -> None:
    place = bundle_copy().path
    check_destination(place, force=True)
    mine = place / name
    mine.parent.mkdir(exist_ok=True)
    {
        "file": lambda: mine.write_text("x"),
        "directory": mine.mkdir,
        "link": lambda: mine.symlink_to("."),
    }[kind]()
    named = "golden/deep" if "deep" in name else name
    with pytest.raises(UsageError, match=f"contains {named}, which is not part") as refused:
        check_destination(place, force=True)
    assert refused.value.next == "-o another-name"
    assert mine.exists()


def test_the_same_file_is_named_on_every_file_system(
    bundle_copy: Callable[[], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, walk = bundle_copy().path, os.walk
    for name in ("golden/mine", "model.mlpackage/mine"):
        (place / name).touch()

    def backwards(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for directory, folders, files in walk(top):
            folders.sort(reverse=True)
            yield directory, folders, files

    monkeypatch.setattr(os, "walk", backwards)
    with pytest.raises(UsageError, match="contains golden/mine, which is not part"):
        check_destination(place, force=True)


def test_a_file_that_the_bundle_does_not_list_is_the_users(
    bundle_copy: Callable[[], Bundle],
) -> None:
    bundle = bundle_copy()
    files = tuple(file for file in bundle.manifest.files if file.format != "executorch")
    (bundle.path / MANIFEST).write_text(dump(replace(bundle.manifest, files=files)))
    with pytest.raises(UsageError, match=r"contains model\.pte, which is not part"):
        check_destination(bundle.path, force=True)


def test_beside_a_manifest_that_cannot_be_read_names_must_do(
    bundle_copy: Callable[[], Bundle],
) -> None:
    place = bundle_copy().path
    (place / MANIFEST).write_text('{"schema": 1, "edgevit": ')
    check_destination(place, force=True)
    (place / "golden" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"contains golden/mine\.txt, which is not part"):
        check_destination(place, force=True)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: replace(m, labels=("a\0", *m.labels[1:])), "is no text"),
        (lambda m: replace(m, labels=("x" * MAX_BYTES, *m.labels[1:])), "larger than 4 MiB"),
        (lambda m: replace(m, files=m.files[1:]), r"model\.onnx is not in its manifest"),
        (lambda m: replace(m, accuracy="measured"), "is not that of its files"),
    ],
)
def test_nothing_is_sealed_that_would_not_open(
    host_bundle: Bundle, tmp_path: Path, change: Callable[..., object], why: str
) -> None:
    place = fake_bundle(tmp_path / "out")
    text = dump(change(host_bundle.manifest))

    def write() -> None:
        with sealed(place, force=True) as folder:
            shutil.copytree(host_bundle.path, folder, dirs_exist_ok=True)
            (folder / MANIFEST).write_text(text)

    with pytest.raises(UsageError, match=f"Nothing was sealed.*{why}") as refused:
        write()
    assert refused.value.exit_code == 2
    assert names(tmp_path) == ["out", "out/README.md", "out/manifest.json"]
    text = dump(host_bundle.manifest)
    write()
    assert open_bundle(place).manifest == host_bundle.manifest


def test_a_terminal_that_closes_does_not_stop_the_cleaning_up() -> None:
    assert signal.SIGHUP in STOPS
    before = signal.getsignal(signal.SIGHUP)
    with uninterrupted():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == before
