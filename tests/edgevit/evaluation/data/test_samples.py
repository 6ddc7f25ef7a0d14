"""Numbered samples, and folders of which nothing leaves."""

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import (
    DataSet,
    Sample,
    check_folder,
    check_inside,
    empty,
    folder_title,
    identity_of,
    listed,
    pictures_in,
    shuffled,
    tensors,
)
from edgevit.tasks.preprocessing import preprocess


def numbers(count=5):
    return DataSet(lambda n: f"first {n}", "abc", "top-1", count, lambda i: Sample(str(i), ()))


def test_samples_stream_again_and_from_any_place():
    data = numbers()
    assert [s.name for s in data] == [s.name for s in data] == ["0", "1", "2", "3", "4"]
    assert len(data) == 5
    assert data.labeled
    assert data.name == "first 5"
    few = data.first(2)
    assert [s.name for s in few] == ["0", "1"]
    assert few.name == "first 2"
    assert data.first(99) == data
    assert data.first(None) is data
    rest = data.after(3)
    assert [s.name for s in rest] == ["3", "4"]
    assert rest.name == "first 5 after the first 3"
    assert rest.identity != data.identity
    assert [s.name for s in rest.first(1)] == ["3"]
    assert not data.unlabeled().labeled


def test_what_leaves_no_sample_is_refused():
    with pytest.raises(UsageError, match="from 1, not 0"):
        numbers().first(0)
    for count in (5, -1):
        with pytest.raises(UsageError, match="none are left after the first"):
            numbers().after(count)


def test_inputs_that_are_made_already_are_samples(subjects):
    spec = subjects["classification"].preprocessing
    made = [preprocess(np.full((4, 6, 3), v, np.uint8), spec) for v in (0, 255)]
    data = tensors(made, "calibration")
    assert not data.labeled
    assert [s.prepared for s in data] == made
    assert data.open(0).boxes == ((0.0, 0.0, 6.0, 4.0),)
    assert data.name == "calibration"
    assert tensors(made[::-1]).identity != data.identity
    assert tensors(made).identity == data.identity


def test_the_identity_is_of_names_and_sizes(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"1")
    b.write_bytes(b"22")
    found = identity_of(tmp_path, [a, b])
    assert identity_of(tmp_path, [b, a]) == found
    assert identity_of(tmp_path, [a, b], "rule") != found
    b.write_bytes(b"333")
    assert identity_of(tmp_path, [a, b]) != found
    title = folder_title(tmp_path, found)
    assert title(3) == f"{tmp_path.name} ({found[:12]})"


def test_the_order_is_the_names_own(tmp_path):
    paths = [tmp_path / c / f"{i}.png" for c in "abc" for i in range(20)]
    order = shuffled(tmp_path, paths)
    assert shuffled(tmp_path, paths[::-1]) == order
    assert sorted(order) == sorted(paths)
    # The first few are of every class.
    assert {path.parent.name for path in order[:10]} == {"a", "b", "c"}


def test_links_that_stay_inside_are_followed_and_others_are_not(tmp_path):
    root, outside = tmp_path / "data", tmp_path / "secret.png"
    (root / "deep").mkdir(parents=True)
    outside.write_bytes(b"x")
    real = root / "deep" / "real.png"
    real.write_bytes(b"x")
    (root / "link.png").symlink_to(real)
    (root / ".hidden.png").symlink_to(outside)
    assert [p.name for p in listed(root, root)] == ["deep", "link.png"]
    (root / "out.png").symlink_to(outside)
    with pytest.raises(UsageError, match=r"out\.png points outside") as refused:
        listed(root, root)
    assert refused.value.next == "copy the file into the folder"
    with pytest.raises(UsageError, match="points outside"):
        check_inside(root, root / ".." / "secret.png")
    assert check_inside(root, real) == real


def test_pictures_are_files_with_a_pictures_ending(tmp_path):
    for name in ("a.JPG", "b.png", "c.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "d.png").mkdir()
    assert [p.name for p in pictures_in(listed(tmp_path, tmp_path))] == ["a.JPG", "b.png"]


def test_a_folder_must_be_one(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="is not a directory"):
        check_folder(tmp_path / "file")
    with pytest.raises(UsageError, match="does not exist"):
        check_folder(tmp_path / "nothing")
    check_folder(tmp_path)
    assert "holds no pictures" in empty(tmp_path, "pictures").message
