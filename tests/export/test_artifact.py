"""Sizes and hashes of files and package directories."""

import hashlib

import pytest

from edgevit_export.artifact import content_sha256, content_size


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "m.mlpackage"
    (folder / "Data" / "weights").mkdir(parents=True)
    (folder / "Manifest.json").write_text("{}")
    (folder / "Data" / "weights" / "weight.bin").write_bytes(b"\0" * 100)
    return folder


def test_a_files_hash_is_sha256_of_its_bytes(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert content_sha256(path) == hashlib.sha256(b"abc").hexdigest()
    assert content_size(path) == 3


def test_a_packages_size_is_that_of_its_files(package):
    assert content_size(package) == 102
    (package / "empty").mkdir()
    assert content_size(package) == 102


@pytest.mark.parametrize(
    "change",
    [
        lambda p: (p / "Manifest.json").write_text("[]"),
        lambda p: (p / "Manifest.json").rename(p / "manifest.json"),
        lambda p: (p / "Manifest.json").rename(p / "Data" / "Manifest.json"),
        lambda p: (p / "Manifest.json").unlink(),
        lambda p: (p / "more").write_bytes(b""),
    ],
    ids=["bytes", "name", "place", "lost", "more"],
)
def test_any_change_of_a_package_changes_its_hash(package, change):
    before = content_sha256(package)
    assert content_sha256(package) == before
    change(package)
    assert content_sha256(package) != before


def test_where_a_package_lies_does_not_matter(package, tmp_path):
    before = content_sha256(package)
    assert content_sha256(package.rename(tmp_path / "elsewhere")) == before


def test_names_and_contents_cannot_be_traded(tmp_path):
    """The separator between name and hash is no part of either."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ("a", "b\nc")), (two, ("a\nb", "c"))):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(b"x")
    assert content_sha256(one) != content_sha256(two)


def test_links_are_not_followed(package, tmp_path):
    outside = tmp_path / "secret"
    outside.write_text("1")
    before = content_sha256(package)
    (package / "link").symlink_to(outside)
    linked = content_sha256(package)
    outside.write_text("2")
    assert content_sha256(package) == linked == before
