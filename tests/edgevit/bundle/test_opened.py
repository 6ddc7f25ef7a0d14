import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevit.bundle.manifest import MAX_BYTES, Member, dump
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.parity import Verification
from edgevit.errors import BundleError, CheckFailed, UsageError
from edgevit_export.artifact import content_sha256
from edgevit_runtimes.errors import UnknownEngine

Copy = Callable[[], Bundle]


def test_a_fresh_bundle_is_as_it_was_sealed(host_bundle: Bundle) -> None:
    host_bundle.check()
    assert open_bundle(str(host_bundle.path)) == host_bundle


def test_the_first_file_that_ran_is_taken(host_bundle: Bundle) -> None:
    files = host_bundle.manifest.files
    assert host_bundle.entry().format == "onnx"
    unknown = replace(files[0], verification=Verification("not verified", "no reason"))
    changed = replace(host_bundle.manifest, files=(unknown, *files[1:]))
    assert Bundle(host_bundle.path, changed).entry().format == files[1].format
    alone = replace(host_bundle.manifest, files=(unknown,))
    assert Bundle(host_bundle.path, alone).entry() == unknown


@pytest.mark.parametrize("name", ["onnx", "executorch", "litert", "coreml"])
def test_files_are_found_by_format(host_bundle: Bundle, name: str) -> None:
    assert host_bundle.entry(name).format == name


def test_tflite_is_litert_and_what_is_not_there_is_named(host_bundle: Bundle) -> None:
    assert host_bundle.entry("tflite").format == "litert"
    with pytest.raises(UsageError, match="no ncnn file; it has onnx, executorch, litert, coreml"):
        host_bundle.entry("ncnn")


def test_a_named_runtime_narrows_the_files_to_those_it_opens(host_bundle: Bundle) -> None:
    assert host_bundle.entries() == list(host_bundle.manifest.files)
    assert [f.path for f in host_bundle.entries(("tflite", "onnx"))] == [
        "model.tflite",
        "model.onnx",
    ]
    assert [f.path for f in host_bundle.entries((), "tflite")] == ["model.tflite"]
    with pytest.raises(
        UsageError, match=r"tflite opens \.tflite files, but the bundle has model\.onnx"
    ):
        host_bundle.entries(("onnx",), "tflite")
    with pytest.raises(UnknownEngine, match="no runtime 'ncnn'"):
        host_bundle.entries((), "ncnn")


def test_a_changed_size_or_byte_is_noticed(bundle_copy: Copy) -> None:
    bundle = bundle_copy()
    file = bundle.entry("litert")
    path = bundle.path / file.path
    whole = path.read_bytes()
    for changed in (whole + b"\0", whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], b""):
        path.write_bytes(changed)
        with pytest.raises(CheckFailed, match="is not the file that was sealed"):
            bundle.checked(file)
    path.write_bytes(whole)
    assert bundle.checked(file) == path


def test_a_pipe_or_directory_in_place_of_a_file_does_not_block(bundle_copy: Copy) -> None:
    bundle = bundle_copy()
    file = bundle.entry("onnx")
    (bundle.path / file.path).unlink()
    os.mkfifo(bundle.path / file.path)
    with pytest.raises(CheckFailed):
        bundle.checked(file)
    (bundle.path / file.path).unlink()
    (bundle.path / file.path).mkdir()
    with pytest.raises(CheckFailed):
        bundle.checked(file)


def test_links_are_refused_wherever_they_are(bundle_copy: Copy, tmp_path: Path) -> None:
    bundle = bundle_copy()
    package = bundle.entry("coreml")
    inner = next(p for p in (bundle.path / package.path).rglob("*") if p.is_file())
    moved = tmp_path / "moved"
    inner.rename(moved)
    inner.symlink_to(moved)
    with pytest.raises(BundleError, match=r"model.mlpackage holds a symbolic link"):
        bundle.checked(package)
    (bundle.path / "golden").rename(tmp_path / "golden")
    (bundle.path / "golden").symlink_to(tmp_path / "golden")
    with pytest.raises(BundleError, match=r"golden/input.npy is a symbolic link"):
        bundle.golden("input")


def test_a_bundle_behind_a_link_is_fine(host_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(host_bundle.path)
    open_bundle(tmp_path / "latest").check()


@pytest.mark.parametrize("name", ["stray", "golden/stray", ".hidden"])
def test_a_stray_file_is_named(bundle_copy: Copy, name: str) -> None:
    bundle = bundle_copy()
    (bundle.path / name).touch()
    with pytest.raises(CheckFailed, match=f"{name} does not belong to the bundle"):
        bundle.check()


def test_golden_arrays_are_what_was_stored(host_bundle: Bundle) -> None:
    array = host_bundle.golden("input")
    assert array.shape == (1, 3, 64, 64)
    assert array.dtype == np.float32
    assert array.flags.writeable
    stored = np.load(host_bundle.path / "golden" / "input.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, stored)
    with pytest.raises(BundleError, match=r"it has no golden/other.npy"):
        host_bundle.golden("other")
    with pytest.raises(BundleError, match=r"it has no golden/../manifest.npy"):
        host_bundle.golden("../manifest")


def with_golden(bundle: Bundle, content: bytes) -> Bundle:
    """The bundle with other bytes as its golden input, and a manifest that says so."""
    path = bundle.path / "golden" / "input.npy"
    path.write_bytes(content)
    member = Member("golden/input.npy", len(content), content_sha256(path))
    others = [m for m in bundle.manifest.members if m.path != member.path]
    manifest = replace(bundle.manifest, members=(*others, member))
    (bundle.path / MANIFEST).write_text(dump(manifest))
    return open_bundle(bundle.path)


def test_golden_arrays_that_lie_are_refused(bundle_copy: Copy, tmp_path: Path) -> None:
    bundle = bundle_copy()
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "zip.npz", np.zeros(3))
    whole = (bundle.path / "golden" / "input.npy").read_bytes()
    for content in (
        b"",
        b"\x93NUMPY",
        whole[:-1],
        whole.replace(b"(1, 3, 64, 64)", b"(9, 9, 99, 99)"),
        whole.replace(b"'<f4'", b"'|O' "),
        (tmp_path / "objects.npy").read_bytes(),
        (tmp_path / "zip.npz").read_bytes(),
    ):
        with pytest.raises(BundleError, match=r"golden/input.npy is no array"):
            with_golden(bundle, content).golden("input")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not text"),
        (b" " * (MAX_BYTES + 1), "is larger than 4 MiB"),
    ],
)
def test_manifests_are_bounded_text(bundle_copy: Copy, content: bytes, why: str) -> None:
    bundle = bundle_copy()
    (bundle.path / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=why):
        open_bundle(bundle.path)


def test_a_pipe_for_a_manifest_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / MANIFEST)
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        open_bundle(tmp_path)


def test_what_is_not_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="There is no bundle at"):
        open_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(tmp_path)
