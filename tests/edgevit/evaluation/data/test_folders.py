"""Folders of classes, of pictures alone, and of videos."""

import numpy as np
import pytest

from edgevit.errors import PictureError, UsageError
from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.data.folders import class_folders, flat_folder, is_clip, match_classes

WNIDS = ("n01440764", "n01443537", "n01484850")


@pytest.mark.parametrize(
    ("names", "labels", "classes", "how"),
    [
        (("cat", "dog"), ("dog", "cat"), {"cat": 1, "dog": 0}, "by name"),
        (("cat",), ("dog", "cat"), {"cat": 1}, "by name"),
        (
            ("Great_White_Shark", "tench"),
            ("tench", "great white shark"),
            {"Great_White_Shark": 1, "tench": 0},
            "by name",
        ),
        (
            WNIDS[::-1],
            ("tench", "goldfish", "shark"),
            {name: i for i, name in enumerate(WNIDS)},
            "WordNet",
        ),
        (("b", "a"), ("class 0", "class 1"), {"a": 0, "b": 1}, "numbered"),
        (("class_1", "class 0"), ("class 0", "class 1"), {"class_1": 1, "class 0": 0}, "by name"),
    ],
)
def test_directories_are_matched_with_labels(names, labels, classes, how):
    found, note = match_classes(names, labels)
    assert dict(found) == classes
    assert how in note
    assert note.endswith(".")


@pytest.mark.parametrize(
    ("names", "labels", "why"),
    [
        (("cat", "cow"), ("dog", "cat"), "cow is not a class"),
        (("a", "b"), ("dog", "cat"), "a is not a class"),
        (WNIDS[:2], ("tench", "goldfish", "shark"), "n01440764 is not a class"),
        (("crane", "owl"), ("crane", "crane", "owl"), "crane is not a class"),
        (("Cat", "cat"), ("dog", "cat"), "same class"),
        (("a",), ("class 0", "class 1"), "a is not a class"),
    ],
)
def test_what_cannot_be_matched_is_refused(names, labels, why):
    with pytest.raises(UsageError, match=why):
        match_classes(names, labels)


def test_a_directory_a_class(tmp_path, subjects, paint):
    for color in ("red", "blue"):
        for index in range(3):
            paint(tmp_path / color / f"{index}.png", color)
    (tmp_path / "red" / "notes.txt").write_text("x")
    (tmp_path / "LICENSE").write_text("x")
    data = open_data(tmp_path, subjects["classification"], "m")
    assert (data.metric, len(data)) == ("top-1", 6)
    for sample in data:
        color = sample.name.split("/")[0]
        assert sample.label == {"red": 0, "blue": 2}[color]
        assert sample.frames[0][0, 0].tolist() == {"red": [255, 0, 0], "blue": [0, 0, 255]}[color]
    before = data.identity
    paint(tmp_path / "blue" / "more.png", "blue")
    assert class_folders(tmp_path, subjects["classification"]).identity != before


def test_a_class_without_pictures_is_an_error(tmp_path, subjects, paint):
    paint(tmp_path / "red" / "1.png", "red")
    (tmp_path / "blue").mkdir()
    with pytest.raises(UsageError, match="blue holds no pictures"):
        open_data(tmp_path, subjects["classification"], "m")


@pytest.mark.parametrize("task", ["classification", "segmentation", "pose", "features"])
def test_pictures_alone_have_no_labels(task, tmp_path, subjects, paint):
    paint(tmp_path / "a.png", "red", (10, 6))
    data = open_data(tmp_path, subjects[task], "m")
    assert not data.labeled
    sample = data.open(0)
    assert sample.frames[0].shape == (6, 10, 3)
    assert sample.boxes == (((0.0, 0.0, 10.0, 6.0),) if task == "pose" else ())


@pytest.mark.parametrize("task", ["classification", "segmentation", "pose", "video", "features"])
def test_an_empty_folder_is_an_error(task, tmp_path, subjects):
    with pytest.raises(UsageError, match="has no"):
        open_data(tmp_path, subjects[task], "m")


def test_a_broken_picture_is_named_when_it_is_opened(tmp_path, subjects, paint):
    paint(tmp_path / "red" / "1.png", "red")
    (tmp_path / "red" / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    data = open_data(tmp_path, subjects["classification"], "m")
    with pytest.raises(PictureError, match=r"red/2\.png"):
        list(data)


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path, subjects, paint):
    root = tmp_path / "data"
    path = paint(root / "red" / "1.png", "red")
    data = open_data(root, subjects["classification"], "m")
    path.rename(tmp_path / "outside.png")
    path.symlink_to(tmp_path / "outside.png")
    with pytest.raises(UsageError, match="points outside"):
        data.open(0)


def test_videos_of_a_class_are_folders_of_frames(tmp_path, subjects, paint):
    for color in ("red", "green"):
        for clip in ("x", "y"):
            for frame in range(4):
                paint(tmp_path / color / clip / f"{frame}.png", color)
    data = open_data(tmp_path, subjects["video"], "m")
    assert (data.metric, len(data), data.unit) == ("top-1", 4, "videos")
    for sample in data:
        assert len(sample.frames) == 2
        assert sample.label == ("red", "green").index(sample.name.split("/")[0])


def test_folders_of_frames_alone_have_no_labels(tmp_path, subjects, paint):
    for clip in ("x", "y"):
        for frame in range(4):
            paint(tmp_path / clip / f"{frame}.png", "red")
    assert is_clip(tmp_path, tmp_path / "x")
    data = open_data(tmp_path, subjects["video"], "m")
    assert not data.labeled
    assert len(data) == 2
    assert len(flat_folder(tmp_path, subjects["video"]).open(1).frames) == 2


def test_zero_label_is_for_masks(tmp_path, subjects, paint):
    paint(tmp_path / "red" / "1.png", "red")
    with pytest.raises(UsageError, match="ignore or keep, not 'zero'"):
        open_data(tmp_path, subjects["segmentation"], "m", "zero")
    with pytest.raises(UsageError, match="is for folders of masks"):
        open_data(tmp_path, subjects["classification"], "m", "keep")
    with pytest.raises(UsageError, match="is for folders of masks"):
        open_data("scenes", subjects["segmentation"], "m", "keep")


def test_videos_of_a_class_are_video_files(tmp_path, subjects):
    av = pytest.importorskip("av", reason='PyAV is not installed: pip install "edgevit[video]"')
    shades = {"red": 40, "green": 200}
    for name, shade in shades.items():
        (tmp_path / name).mkdir()
        with av.open(f"file:{tmp_path / name / 'clip.mkv'}", "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            picture = np.full((48, 64, 3), shade, np.uint8)
            for _ in range(4):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        (tmp_path / name / "notes.txt").write_text("no video")
    data = open_data(tmp_path, subjects["video"], "m")
    assert [sample.name for sample in data.first(9)] == [s.name for s in data]
    assert len(data) == 2
    for sample in data:
        name = sample.name.split("/")[0]
        assert sample.label == ("red", "green").index(name)
        assert len(sample.frames) == 2
        assert abs(float(sample.frames[0].mean()) - shades[name]) < 10
    (tmp_path / "red" / "clip.mkv").write_bytes(b"broken")
    with pytest.raises(PictureError, match=r"red/clip\.mkv"):
        list(data)
