"""Ctrl-C, a full disk and failing checks in the middle of every step: nothing half-written stays,
and nothing that was there is lost.
"""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgevit.deployment.export
import edgevit.deployment.files
import edgevit.deployment.prepare
from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle, open_bundle
from edgevit.bundle.parity import Case
from edgevit.deployment.load import Trained
from edgevit.errors import CheckFailed
from edgevit.steps import Step
from edgevit_export.artifact import Artifact

Cli = Callable[..., Any]
Tree = Callable[[Path], dict[str, str]]

EXPORT, FILES = edgevit.deployment.export, edgevit.deployment.files
PREPARE = edgevit.deployment.prepare
EDGEVIT = (sys.executable, "-c", "from edgevit.cli import main; main()")
# Behind a shell that has Ctrl-C ignored a program starts with it ignored.
INTERRUPTIBLE = (
    *EDGEVIT[:2],
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);" + EDGEVIT[2],
)
SIZE = ("--input-size", "64", "64")
INTERRUPTED = "Interrupted; nothing half-written was left behind"


def artifact_of(file: FileEntry, path: Path) -> Artifact:
    return Artifact(
        format=file.format,
        path=path,
        precision=file.precision,
        size=file.size,
        sha256=file.sha256,
        inputs=file.inputs,
        outputs=file.outputs,
        tools=dict(file.tools),
        facts=dict(file.facts),
    )


@pytest.fixture
def quick(host_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """deploy in its own order with its own reports; what takes long is taken from a bundle."""
    import edgevit.networks.line
    import edgevit_export.lower
    from edgevit.networks.create import create_model

    network = create_model("topformer-t", input_size=(64, 64), num_classes=12)
    case = [(np.zeros((1, 3, 64, 64), np.float32),), (np.zeros((1, 12, 8, 8), np.float32),)]
    photo = np.zeros((64, 64, 3), np.uint8)

    def load(spec: Any, report: Any) -> Any:
        report(Step("start", "load"))
        report(Step("done", "loaded"))
        return Trained(network, host_bundle.manifest.weights, host_bundle.manifest.labels)

    def lower(network: object, example: object, name: str, scheme: object, path: Path, *_: object):
        file = host_bundle.entry(name)
        copy = shutil.copytree if path.suffix == ".mlpackage" else shutil.copy
        copy(host_bundle.path / file.path, path)
        return artifact_of(file, path)

    monkeypatch.setattr(PREPARE, "load", load)
    monkeypatch.setattr(PREPARE, "golden_cases", lambda *_: ((Case("g", *case),), photo))
    monkeypatch.setattr(
        FILES,
        "check_parity",
        lambda made, *_: host_bundle.entry(made.format).verification,
    )
    monkeypatch.setattr(edgevit.networks.line, "run_line", lambda network, *_: network)
    monkeypatch.setattr(edgevit_export.lower, "lower", lower)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host_bundle: Bundle) -> Path:
    """A working directory with an earlier, smaller bundle in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "earlier").mkdir()
    shutil.copy(host_bundle.path / "manifest.json", tmp_path / "earlier")
    (tmp_path / "earlier" / "labels.txt").write_text("the earlier one")
    return tmp_path


WHERE = pytest.mark.parametrize(
    "where", [("-o", "new/below/it"), ("-o", "earlier", "--force")], ids=["new", "earlier"]
)


def export(cli: Cli, where: tuple[str, ...]) -> Any:
    return cli("export", "topformer-t", *SIZE, *where)


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], list[str]]]:
    """Arm an interrupt at the nth step that is reported; returns the list they are noted in."""
    from edgevit.cli.console import Terminal

    def arm(stop: int | None) -> list[str]:
        seen: list[str] = []

        def report(self: object, step: Any) -> None:
            seen.append(f"{step.kind} {step.text}")
            if len(seen) - 1 == stop:
                raise KeyboardInterrupt

        monkeypatch.setattr(Terminal, "report", report)
        return seen

    return arm


@WHERE
def test_ctrl_c_at_every_step_leaves_everything_as_it_was(
    where: tuple[str, ...],
    cli: Cli,
    tree: Tree,
    place: Path,
    quick: None,
    steps: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    seen = steps(None)
    elsewhere = tmp_path_factory.mktemp("whole") / "bundle"
    assert export(cli, ("-o", str(elsewhere))).code == 0
    for step in ("load", "reparameterize", "export onnx", "export executorch", "export litert"):
        assert any(line.startswith(f"start {step}") for line in seen)
    for step in ("export coreml", "verify onnx", "verify executorch", "verify litert", "seal"):
        assert any(line.startswith(f"start {step}") for line in seen)
    assert seen[-1] == f"done sealed {elsewhere}"

    before = tree(place)
    for stop in range(len(seen) - 1):  # the last one tells of a bundle that is there
        steps(stop)
        export(cli, where).refused(130, INTERRUPTED)
        assert tree(place) == before, seen[stop]


@WHERE
@pytest.mark.parametrize(
    "inside", ["lower", "golden_cases", "check_parity", "write_members", "dump", "rename"]
)
@pytest.mark.parametrize("failure", ["interrupt", "full"])
def test_a_failure_inside_a_step_leaves_everything_as_it_was(
    failure: str,
    inside: str,
    where: tuple[str, ...],
    cli: Cli,
    tree: Tree,
    place: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail = {"interrupt": interrupt, "full": full}[failure]
    if inside == "lower":
        import edgevit_export.lower

        whole = edgevit_export.lower.lower

        def half(*arguments: Any) -> None:
            whole(*arguments)
            fail()

        monkeypatch.setattr(edgevit_export.lower, "lower", half)
    elif inside == "rename":
        rename = Path.rename

        def once(self: Path, target: Path) -> Path:
            if ".partial-" in self.name:
                fail()
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", once)
    elif inside == "write_members":
        whole = EXPORT.write_members

        def half(*arguments: Any) -> None:
            whole(*arguments)
            fail()

        monkeypatch.setattr(EXPORT, "write_members", half)
    elif inside == "check_parity":
        monkeypatch.setattr(FILES, inside, fail)
    else:
        monkeypatch.setattr({"golden_cases": PREPARE}.get(inside, EXPORT), inside, fail)
    before = tree(place)
    told = export(cli, where)
    if failure == "interrupt":
        told.refused(130, INTERRUPTED)
    else:
        told.refused(4, "The disk is full; nothing half-written was left behind")
    assert tree(place) == before


@WHERE
def test_a_file_that_computes_something_else_is_not_sealed(
    where: tuple[str, ...],
    cli: Cli,
    tree: Tree,
    place: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def differ(made: Artifact, *_: object) -> None:
        raise CheckFailed(f"{made.path.name} does not compute what the network computes.")

    monkeypatch.setattr(FILES, "check_parity", differ)
    before = tree(place)
    export(cli, where).refused(1, "does not compute what the network computes")
    assert tree(place) == before


def test_force_replaces_a_bundle_by_a_whole_one(cli: Cli, place: Path, quick: None) -> None:
    assert export(cli, ("-o", "earlier", "--force")).code == 0
    open_bundle(place / "earlier").check()
    assert [path.name for path in place.iterdir()] == ["earlier"]


def test_a_bundle_that_appeared_meanwhile_is_kept(
    cli: Cli, tree: Tree, place: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = EXPORT.write_members

    def meanwhile(*arguments: Any) -> Any:
        shutil.copytree(place / "earlier", place / "new")
        return whole(*arguments)

    monkeypatch.setattr(EXPORT, "write_members", meanwhile)
    export(cli, ("-o", "new")).refused(2, "new holds a bundle already")
    assert tree(place / "new") == tree(place / "earlier")
    assert sorted(path.name for path in place.iterdir()) == ["earlier", "new"]


# --- real processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_real_interrupt_in_the_middle_of_an_export(
    number: signal.Signals, tree: Tree, place: Path
) -> None:
    before = tree(place)
    words = ("export", "topformer-t", *SIZE, "-r", "onnx", "-o", "earlier", "--force")
    with subprocess.Popen(
        (*INTERRUPTIBLE, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = ""
        while "reparameterized (onnx)" not in told:
            line = process.stderr.readline()
            assert line, told
            told += line
        time.sleep(0.2)  # into the exporter, where half a file may lie
        process.send_signal(number)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 130, told + rest
    assert INTERRUPTED in rest
    assert "Traceback" not in told + rest
    assert out == ""
    assert tree(place) == before


def tiny_disk(place: Path, size: str, words: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    """Run edgevit where `disk/` is a file system of `size`; what stays on it is listed at the end.

    It is mounted in a mount namespace of its own, which ends with the command.
    """
    script = (
        f"mount -t tmpfs -o size={size} none disk || exit 99;"
        ' "$@"; code=$?; echo "left: $(find disk -mindepth 1 | tr "\n" " ")"; exit $code'
    )
    (place / "disk").mkdir()
    return subprocess.run(
        ("unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *EDGEVIT, *words),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def has_namespaces() -> bool:
    probe = ("unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt")
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


real_disk = pytest.mark.skipif(
    not has_namespaces(),
    reason="this machine lets no mount namespace be made; the injected errors above stand for it",
)


@real_disk
def test_a_really_full_disk_in_an_export(place: Path) -> None:
    told = tiny_disk(
        place, "1m", ("export", "topformer-t", *SIZE, "-r", "onnx", "-o", "disk/deep/out")
    )
    assert told.returncode == 4, told.stderr
    assert "Error: The disk is full" in told.stderr
    assert told.stderr.splitlines()[-1].startswith("Next: ")
    assert "Traceback" not in told.stderr
    assert told.stdout == "left: \n"


@real_disk
def test_a_really_full_disk_in_a_run(place: Path, host_bundle: Bundle) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(noise).save(place / "photo.png")
    told = tiny_disk(
        place, "16k", ("run", str(host_bundle.path), "photo.png", "-r", "onnx", "-o", "disk/seen")
    )
    assert told.returncode == 4, told.stderr
    assert "Error: The disk is full" in told.stderr
    assert told.stdout in ("left: \n", "left: disk/seen \n")


def test_a_full_disk_behind_stdout(place: Path) -> None:
    with Path("/dev/full").open("w") as sink:
        told = subprocess.run(
            (*EDGEVIT, "list", "-q"), stdout=sink, stderr=subprocess.PIPE, text=True, check=False
        )
    assert told.returncode == 4
    assert told.stderr.startswith("Error: The disk is full")
    assert "Exception ignored" not in told.stderr
