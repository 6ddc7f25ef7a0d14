"""Harmed bundles: `verify`, `run` and `bench` each refuse what concerns them, and run nothing."""

import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgevit_runtimes.engines
import edgevit_runtimes.meters
from edgevit.bundle.manifest import MAX_BYTES, dump
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.errors import EdgevitError
from edgevit_export.artifact import content_sha256

Cli = Callable[..., Any]
Tree = Callable[[Path], dict[str, str]]
Harm = Callable[[Path], object]

COMMANDS = ("verify", "run", "bench")
CHANGED = "is not the file that was sealed"


@pytest.fixture
def bundle(bundle_copy: Callable[[], Bundle]) -> Path:
    return bundle_copy().path


@pytest.fixture
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of the bundle reaches a runtime."""

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a file was opened")

    for opener in ("bundle.parity.open_on", "prediction.predictor.open_session"):
        monkeypatch.setattr(f"edgevit.{opener}", fail)
    monkeypatch.setattr(edgevit_runtimes.engines, "open_prepared", fail)
    monkeypatch.setattr(edgevit_runtimes.meters.local, "cold_start", fail)


def words(command: str, bundle: Path, picture: Path, *more: str) -> tuple[object, ...]:
    if command == "run":
        return "run", bundle, picture, "-o", picture.parent / "seen", *more
    return command, bundle, *more


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and leave it readable; its seal no longer fits."""
    content = json.loads((path / MANIFEST).read_text())
    change(content)
    (path / MANIFEST).write_text(json.dumps(content, indent=1) + "\n")


def point(path: Path, target: str) -> None:
    edit(path, lambda content: content["files"][0].update(path=target))


def link(path: Path, name: str) -> None:
    member = path / name
    elsewhere = path.parent / f"elsewhere-{Path(name).name}"
    member.rename(elsewhere)
    member.symlink_to(elsewhere)


@dataclass(frozen=True, slots=True)
class Row:
    """Harm that every command must meet with this exit code and sentence."""

    name: str
    harm: Harm
    code: int
    sentence: str


EVERYWHERE = (
    Row("missing", lambda b: shutil.rmtree(b), 2, "There is no bundle at"),
    Row("empty", lambda b: [shutil.rmtree(b), b.mkdir()], 2, "has no manifest.json"),
    Row("file", lambda b: [shutil.rmtree(b), b.write_text("x")], 2, "is not a bundle"),
    Row("no manifest", lambda b: (b / MANIFEST).unlink(), 2, "has no manifest.json"),
    Row("link", lambda b: link(b, MANIFEST), 2, "has no manifest.json"),
    Row("empty manifest", lambda b: (b / MANIFEST).write_text(""), 2, "is not JSON"),
    Row("half", lambda b: (b / MANIFEST).write_text(text(b)[:900]), 2, "is not JSON"),
    Row("deep", lambda b: (b / MANIFEST).write_text("[" * 99_999), 2, "is not JSON"),
    Row("binary", lambda b: (b / MANIFEST).write_bytes(b"\xff\xfe\0"), 2, "is not text"),
    Row("list", lambda b: (b / MANIFEST).write_text("[1]"), 2, "not the manifest of a bundle"),
    Row("web app", lambda b: (b / MANIFEST).write_text('{"name": "shop"}'), 2, "not the manifest"),
    Row("word", lambda b: edit(b, lambda c: c.update(schema="1")), 2, "not the manifest"),
    Row("newer", lambda b: edit(b, lambda c: c.update(schema=2)), 2, "schema 2; this .* up to 1"),
    Row("huge", lambda b: (b / MANIFEST).write_text(" " * (MAX_BYTES + 1)), 2, "larger than"),
    Row("incomplete", lambda b: edit(b, lambda c: c.pop("files")), 2, "its schema .*files"),
    Row("surplus", lambda b: edit(b, lambda c: c.update(x=1)), 2, "its schema .*x"),
    Row("no files", lambda b: edit(b, lambda c: c.update(files=[])), 2, "no files"),
    Row("types", lambda b: edit(b, lambda c: c.update(files="abc")), 2, "does not fit its schema"),
    Row("renamed", lambda b: point(b, "model.bin"), 2, "model.bin of format 'onnx'"),
    Row("parent", lambda b: point(b, "../model.onnx"), 2, "outside itself"),
    Row("inner parent", lambda b: point(b, "golden/../../model.onnx"), 2, "outside itself"),
    Row("absolute", lambda b: point(b, "/etc/passwd"), 2, "outside itself"),
    Row("drive", lambda b: point(b, "C:\\model.onnx"), 2, "outside itself"),
    Row("edited", lambda b: edit(b, lambda c: c.update(model="topformer-s")), 1, CHANGED),
)


def text(bundle: Path) -> str:
    return (bundle / MANIFEST).read_text()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("row", EVERYWHERE, ids=lambda row: row.name)
def test_a_broken_manifest_is_refused_by_every_command(
    row: Row,
    command: str,
    cli: Cli,
    tree: Tree,
    bundle: Path,
    picture: Path,
    nothing_runs: None,
) -> None:
    row.harm(bundle)
    before = tree(bundle.parent)
    cli(*words(command, bundle, picture)).refused(row.code, row.sentence)
    assert tree(bundle.parent) == before
    assert not (picture.parent / "seen").exists()


def test_every_changed_byte_of_the_manifest_is_noticed(bundle: Path) -> None:
    manifest = bundle / MANIFEST
    whole = manifest.read_bytes()
    codes = set()
    for position in range(0, len(whole), max(1, len(whole) // 400)):
        flip(manifest, position)
        with pytest.raises(EdgevitError) as refused:
            open_bundle(bundle)
        codes.add(refused.value.exit_code)
        manifest.write_bytes(whole)
    assert codes == {1, 2}  # a hash that differs, or no manifest any more


def members(bundle: Path) -> list[str]:
    """Every file but the manifest, those inside the .mlpackage too."""
    files = (path for path in bundle.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(bundle).as_posix() for path in files)


def test_verify_notices_a_changed_byte_in_every_file(
    cli: Cli, bundle: Path, nothing_runs: None
) -> None:
    names = members(bundle)
    assert {"model.onnx", "model.pte", "model.tflite", "labels.txt", "README.md"} < set(names)
    assert sum(name.startswith("golden/") for name in names) == 3
    assert any(name.startswith("model.mlpackage/") for name in names)
    for name in names:
        for position in (0, -1):
            flip(bundle / name, position)
            cli("verify", bundle).refused(1, f"{name.split('/')[0]}.* {CHANGED}")
            flip(bundle / name, position)


@pytest.mark.parametrize("name", ["model.onnx", "model.pte", "model.tflite"])
def test_run_and_bench_open_no_changed_file(
    name: str, cli: Cli, bundle: Path, picture: Path, nothing_runs: None
) -> None:
    file = next(f for f in open_bundle(bundle).manifest.files if f.path == name)
    flip(bundle / name, 4000)
    for command in ("run", "bench"):
        told = cli(*words(command, bundle, picture, "-r", file.format))
        told.refused(1, f"{name} {CHANGED}")


def test_bench_takes_no_changed_input(cli: Cli, bundle: Path, nothing_runs: None) -> None:
    flip(bundle / "golden" / "input.npy")
    cli("bench", bundle).refused(1, f"golden/input.npy {CHANGED}")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, "model.onnx") for command in COMMANDS),
        ("verify", "golden/input.npy"),
        ("bench", "golden/input.npy"),
        ("verify", "labels.txt"),
    ],
)
def test_a_missing_file_is_named(
    command: str, name: str, cli: Cli, bundle: Path, picture: Path, nothing_runs: None
) -> None:
    (bundle / name).unlink()
    cli(*words(command, bundle, picture)).refused(2, f"{name} is missing in the bundle")


@pytest.mark.parametrize(
    ("command", "name"),
    [*((command, "model.onnx") for command in COMMANDS), ("verify", "golden"), ("bench", "golden")],
)
def test_a_link_in_place_of_a_file_is_refused(
    command: str, name: str, cli: Cli, bundle: Path, picture: Path, nothing_runs: None
) -> None:
    link(bundle, name)
    cli(*words(command, bundle, picture)).refused(2, "is a symbolic link")


@pytest.mark.parametrize(
    "add",
    [
        lambda b: (b / "notes.txt").write_text("mine"),
        lambda b: (b / "golden" / "more.npy").touch(),
        lambda b: (b / "model.mlpackage" / "more").touch(),
        lambda b: (b / "elsewhere").symlink_to("/etc"),
        lambda b: (b / "dangling").symlink_to("nowhere"),
    ],
    ids=["file", "golden", "package", "link", "dangling"],
)
def test_verify_refuses_what_does_not_belong(
    add: Harm, cli: Cli, bundle: Path, nothing_runs: None
) -> None:
    add(bundle)
    cli("verify", bundle).refused(1, f"does not belong to the bundle|{CHANGED}")


def forged(bundle: Path, **changes: object) -> None:
    """A manifest with other contents and a right seal: what somebody wrote on purpose."""
    manifest = replace(open_bundle(bundle).manifest, **changes)  # type: ignore[arg-type]
    (bundle / MANIFEST).write_text(dump(manifest))


def test_a_lying_golden_array_takes_no_memory(cli: Cli, bundle: Path, nothing_runs: None) -> None:
    opened = open_bundle(bundle)
    path = bundle / "golden" / "input.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    changed = tuple(
        replace(m, size=path.stat().st_size, sha256=content_sha256(path))
        if m.path == "golden/input.npy"
        else m
        for m in opened.manifest.members
    )
    forged(bundle, members=changed)
    cli("bench", bundle).refused(2, "golden/input.npy is no array")


def test_official_resize_needs_logits(
    cli: Cli, bundle: Path, picture: Path, nothing_runs: None
) -> None:
    forged(bundle, output="mask")
    told = cli(*words("run", bundle, picture, "--official-resize"))
    told.refused(2, "--official-resize needs logits")


def test_an_option_of_another_task_is_refused(
    cli: Cli, bundle: Path, picture: Path, nothing_runs: None
) -> None:
    told = cli(*words("run", bundle, picture, "--flip-test"))
    told.refused(2, "--flip-test is for pose; topformer-t's task is segmentation")
    forged(bundle, task="classification")
    told = cli(*words("run", bundle, picture, "--official-resize"))
    told.refused(2, "--official-resize is for segmentation; .*task is classification")


def test_a_task_that_the_files_do_not_do_is_told(cli: Cli, bundle: Path, picture: Path) -> None:
    forged(bundle, task="classification")
    told = cli(*words("run", bundle, picture))
    told.refused(1, "returned logits of shape .* for 10 classes")


@pytest.fixture
def apple_bundle(bundle: Path) -> Path:
    """What `--target ios-arm64` writes."""
    files = [file for file in open_bundle(bundle).manifest.files if file.format == "coreml"]
    for name in ("model.onnx", "model.pte", "model.tflite"):
        (bundle / name).unlink()
    forged(bundle, files=tuple(files))
    return bundle


@pytest.mark.skipif(platform.system() == "Darwin", reason="Core ML runs here")
@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_bundle_for_apple_is_told_apart_elsewhere(
    command: str, cli: Cli, apple_bundle: Path, picture: Path
) -> None:
    told = cli(*words(command, apple_bundle, picture))
    told.refused(4, "Core ML runs on macOS only")
    assert not (picture.parent / "seen").exists()


@pytest.mark.skipif(platform.system() == "Darwin", reason="Core ML runs here")
def test_verify_says_what_it_could_not_run(cli: Cli, apple_bundle: Path) -> None:
    told = cli("verify", apple_bundle)
    assert told.code == 0
    assert "not verified: Core ML runs on macOS only\t" in told.out
    assert "edgevit inspect" in told.err.splitlines()[-1]
