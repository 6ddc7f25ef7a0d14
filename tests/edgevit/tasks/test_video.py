"""Clips: SlowFast's frames, folders in natural order, and video files through a stand-in of PyAV.

PyAV itself is an extra that the development environment does not have.
"""

import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgevit.errors import MissingDependency, PictureError
from edgevit.tasks import video
from edgevit.tasks.video import check_video, natural_order, open_clip, sample_indices


def slowfast(total: int, frames: int, stride: int, fps: float) -> list[int]:
    """SlowFast's decoder, restated: the middle clip's start and end, torch's linspace, clamped."""
    clip_size = stride * frames / 30 * fps
    start = max(total - clip_size, 0) / 2
    index = torch.linspace(start, start + clip_size - 1, frames, dtype=torch.float64)
    return torch.clamp(index + 1e-6, 0, total - 1).long().tolist()


@pytest.mark.parametrize("total", [1, 7, 16, 64, 65, 300])
@pytest.mark.parametrize(("frames", "stride"), [(16, 4), (32, 3), (8, 1), (40, 3), (1, 4)])
@pytest.mark.parametrize("fps", [30.0, 25.0, 29.97, 60.0])
def test_the_frames_are_slowfasts(total: int, frames: int, stride: int, fps: float) -> None:
    found = sample_indices(total, frames, stride, fps)
    assert list(found) == slowfast(total, frames, stride, fps)
    assert list(found) == sorted(found)


def test_frames_by_hand() -> None:
    assert sample_indices(20, 8, 1) == tuple(range(6, 14))
    assert sample_indices(8, 8, 1) == tuple(range(8))
    assert sample_indices(5, 8, 1) == (0, 1, 2, 3, 4, 4, 4, 4)
    assert sample_indices(64, 4, 16) == (0, 21, 42, 63)


def test_stride_0_spreads_the_frames() -> None:
    """ssv2.py: the middle of equal parts, whose borders round half to even."""
    assert sample_indices(33, 4, 0) == (4, 12, 20, 28)
    assert sample_indices(3, 4, 0) == (0, 0, 1, 2)  # borders 0, 0, 1, 2, 2
    assert sample_indices(1, 4, 0) == (0, 0, 0, 0)


def test_names_in_natural_order() -> None:
    names = ["f10.png", "f2.png", "F1.png", "a²3.png", "a²10.png", "1.png", "02.png", "f.png"]
    found = sorted(names, key=lambda name: (natural_order(name), name))
    in_order = ["1.png", "02.png", "a²3.png", "a²10.png"]
    assert found == [*in_order, "F1.png", "f2.png", "f10.png", "f.png"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve pictures, each of the gray of its number, and what is none."""
    place = tmp_path / "clip"
    place.mkdir()
    for index in range(12):
        Image.fromarray(np.full((6, 8, 3), index, np.uint8)).save(place / f"frame{index}.png")
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_bytes(b"no picture")
    return place


def test_a_folder_of_frames(folder: Path) -> None:
    clip = open_clip(folder, 4, 2)
    assert clip.indices == (2, 4, 6, 9)
    assert [int(picture[0, 0, 0]) for picture in clip.pictures] == [2, 4, 6, 9]
    assert clip.total == 12
    assert clip.note == ("4 frames, stride 2 at 30 pictures a second: pictures 3 to 10 of 12.")


def test_a_short_folder_repeats_its_last(folder: Path) -> None:
    clip = open_clip(folder, 16, 4)
    assert clip.indices[-1] == 11
    assert len(clip.pictures) == 16
    assert "the video is shorter than the clip, so" in clip.note
    assert "frames are repeated" in clip.note


def test_a_folder_spread(folder: Path) -> None:
    assert open_clip(folder, 3, 0).note == "3 frames spread over 12 pictures."


def test_folders_that_are_no_clip(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (9, 6)).save(folder / "frame5.png")
    with pytest.raises(PictureError, match=r"is 9 x 6, and frame1\.png is 8 x 6"):
        open_clip(folder, 10, 1)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(PictureError, match="holds no pictures"):
        open_clip(empty, 4, 1)
    with pytest.raises(PictureError, match="There is no video"):
        open_clip(tmp_path / "nothing.mp4", 4, 1)


def test_a_single_picture_is_no_video(folder: Path) -> None:
    with pytest.raises(PictureError, match="is a single picture"):
        check_video(folder / "frame1.png")


def test_a_video_without_pyav_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"some video")
    for act in (lambda: check_video(path), lambda: open_clip(path, 4, 1)):
        with pytest.raises(MissingDependency, match=r"clip\.mp4 needs PyAV") as caught:
            act()
        assert caught.value.next == 'pip install "edgevit[video]"'


class FFmpegError(Exception):
    """PyAV's root."""


class Frame:
    width, height = 8, 6

    def __init__(self, index: int, rotation: int = 0) -> None:
        self.index, self.rotation = index, rotation

    def to_ndarray(self, format: str) -> Any:  # noqa: A002 - PyAV's name
        assert format == "rgb24"
        picture = np.full((6, 8, 3), self.index, np.uint8)
        picture[0, 0] = 255  # the corner at the top left
        return picture


@pytest.fixture
def pyav(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A module of PyAV's shape: `frames` are those of every file, `fps` their rate."""
    made = SimpleNamespace(frames=[Frame(index) for index in range(20)], fps=Fraction(15), opened=0)

    class Container:
        def __init__(self) -> None:
            stream = SimpleNamespace(average_rate=made.fps)
            self.streams = SimpleNamespace(video=[stream] if made.frames is not None else [])

        def __enter__(self) -> "Container":
            made.opened += 1
            return self

        def __exit__(self, *_: object) -> None:
            made.opened -= 1

        def decode(self, video: int) -> Any:
            assert video == 0
            for frame in made.frames:
                if isinstance(frame, Exception):
                    raise frame
                yield frame

    module = SimpleNamespace(
        open=lambda _: Container(), error=SimpleNamespace(FFmpegError=FFmpegError)
    )
    monkeypatch.setitem(sys.modules, "av", module)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"some video")
    return path


def test_a_video_at_its_own_rate(pyav: SimpleNamespace, file: Path) -> None:
    clip = open_clip(file, 4, 4)  # 16 pictures at 30 are 8 at 15
    assert clip.indices == (6, 8, 10, 13)
    assert [int(picture[1, 1, 0]) for picture in clip.pictures] == [6, 8, 10, 13]
    assert clip.note == "4 frames, stride 4 at 15 pictures a second: pictures 7 to 14 of 20."
    assert pyav.opened == 0


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (-90, (0, 5)), (90, (7, 0)), (180, (5, 7))]
)
def test_a_turned_video_stands_upright(
    rotation: int, corner: tuple[int, int], pyav: SimpleNamespace, file: Path
) -> None:
    """ffmpeg's angle turns the picture counterclockwise; -90 is a phone held upright."""
    pyav.frames = [Frame(index, rotation) for index in range(4)]
    (picture, *_) = open_clip(file, 4, 1).pictures
    assert tuple(np.argwhere(picture[..., 0] == 255)[0]) == corner


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (None, "holds no video"),
        ([], "no picture that can be decoded"),
        ([Frame(0), FFmpegError("Invalid data found")], r"as a video \(Invalid data found\)"),
        ([OSError("damaged")], r"as a video \(damaged\)"),
    ],
)
def test_broken_videos_are_one_sentence(
    frames: Any, message: str, pyav: SimpleNamespace, file: Path
) -> None:
    pyav.frames = frames
    with pytest.raises(PictureError, match=message):
        open_clip(file, 4, 1)


def test_videos_are_bounded(
    pyav: SimpleNamespace, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "MOST_PICTURES", 10)
    with pytest.raises(PictureError, match="more than 10 pictures"):
        open_clip(file, 4, 1)
    monkeypatch.setattr(video, "MOST_PICTURES", 100)
    monkeypatch.setattr(video, "MOST_PIXELS", 47)
    with pytest.raises(PictureError, match="47 pixels in one of them"):
        open_clip(file, 4, 1)


def test_a_rate_that_means_nothing_is_30(pyav: SimpleNamespace, file: Path) -> None:
    pyav.fps = None
    assert "at 30 pictures" in open_clip(file, 4, 1).note
    pyav.fps = Fraction(90_000)
    assert "at 30 pictures" in open_clip(file, 4, 1).note
