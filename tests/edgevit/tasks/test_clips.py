"""Clips: SlowFast's frames, folders in natural order, and video files: through a stand-in of PyAV,
and through PyAV itself where that extra is installed.
"""

import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgevit.errors import EnvironmentFailed, MissingDependency, PictureError
from edgevit.tasks import clips
from edgevit.tasks.clips import check_video, natural_order, open_clip, sample_indices


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


def test_what_is_no_file_to_decode_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for a writer."""
    empty, pipe = tmp_path / "empty.mp4", tmp_path / "pipe.mp4"
    empty.touch()
    os.mkfifo(pipe)
    for path, message in ((empty, "is empty"), (pipe, "is neither a file nor a folder")):
        with pytest.raises(PictureError, match=message):
            check_video(path)


def test_a_video_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(EnvironmentFailed, match="cannot be read"):
        open_clip(file, 4, 1)


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

    errno = 1094995529  # AVERROR_INVALIDDATA


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
    made = SimpleNamespace(
        frames=[Frame(index) for index in range(20)], fps=Fraction(15), opened=0, asked=[]
    )

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

    def opening(name: str, **options: object) -> Container:
        made.asked.append((name, options))
        return Container()

    module = SimpleNamespace(open=opening, error=SimpleNamespace(FFmpegError=FFmpegError))
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
    for name, options in pyav.asked:
        assert name == f"file:{file}"
        assert options["options"]["protocol_whitelist"] == "file"
        assert "mp4" in options["options"]["format_whitelist"].split(",")


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
    monkeypatch.setattr(clips, "MOST_PICTURES", 10)
    with pytest.raises(PictureError, match="more than 10 pictures"):
        open_clip(file, 4, 1)
    monkeypatch.setattr(clips, "MOST_PICTURES", 100)
    monkeypatch.setattr(clips, "MOST_PIXELS", 47)
    with pytest.raises(PictureError, match="47 pixels in one of them"):
        open_clip(file, 4, 1)


def test_a_clip_is_bounded_as_a_whole(
    pyav: SimpleNamespace, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyav.fps = Fraction(30)
    monkeypatch.setattr(clips, "MOST_IN_CLIP", 4 * 48)
    assert len(open_clip(file, 4, 1).pictures) == len(open_clip(folder, 4, 1).pictures) == 4
    monkeypatch.setattr(clips, "MOST_IN_CLIP", 4 * 48 - 1)
    for path in (file, folder):
        with pytest.raises(PictureError, match="gives 4 frames of 8 x 6, more than 191 pixels"):
            open_clip(path, 4, 1)


def test_nothing_is_decoded_behind_the_last_frame(pyav: SimpleNamespace, file: Path) -> None:
    decoded: list[int] = []

    class Counted(Frame):
        @property
        def width(self) -> int:  # asked of every frame that is decoded
            decoded.append(self.index)
            return 8

    pyav.frames = [Counted(index) for index in range(20)]
    clip = open_clip(file, 2, 4)
    assert decoded == [*range(20), *range(clip.indices[-1] + 1)]  # once to count them all
    assert pyav.opened == 0


def test_a_slow_video_is_not_called_short(pyav: SimpleNamespace, file: Path) -> None:
    note = open_clip(file, 4, 1).note
    assert note.endswith("of 20; the clip wants 30 a second, so 2 frames are repeated.")
    assert "is shorter than the clip" in open_clip(file, 16, 4).note


def test_a_rate_that_means_nothing_is_30(pyav: SimpleNamespace, file: Path) -> None:
    pyav.fps = None
    assert "at 30 pictures" in open_clip(file, 4, 1).note
    pyav.fps = Fraction(90_000)
    assert "at 30 pictures" in open_clip(file, 4, 1).note


Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """Writes a video with PyAV itself: frame i is of the gray 10 i, its corner at the top left
    white.
    """
    av = pytest.importorskip("av", reason="PyAV, the video extra, is not installed")

    def write(name: str = "clip.mp4", frames: int = 20, title: str = "drawn") -> Path:
        path = tmp_path / name
        with av.open(f"file:{path}", "w") as container:
            container.metadata["title"] = title
            stream = container.add_stream("mpeg4", rate=15)  # ffmpeg's own: every build has it
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(frames):
                picture = np.full((48, 64, 3), 10 * index, np.uint8)
                picture[:16, :16] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


def grays(clip: clips.Clip) -> list[float]:
    return [float(np.median(picture)) / 10 for picture in clip.pictures]


def test_pyav_gives_the_frames_that_were_written(written: Write) -> None:
    clip = open_clip(written(), 4, 4)
    assert clip.indices == (6, 8, 10, 13)
    assert grays(clip) == pytest.approx(clip.indices, abs=0.4)
    assert {picture.shape for picture in clip.pictures} == {(48, 64, 3)}
    assert clip.note == "4 frames, stride 4 at 15 pictures a second: pictures 7 to 14 of 20."


def test_pyav_and_a_video_of_one_picture(written: Write) -> None:
    clip = open_clip(written(frames=1), 4, 4)
    assert clip.indices == (0, 0, 0, 0)
    assert clip.total == 1
    assert open_clip(written(frames=1), 3, 0).indices == (0, 0, 0)


def test_pyav_and_a_phone_held_upright(written: Write) -> None:
    """The track header's matrix of a quarter turn clockwise, as phones write it (ISO 14496-12)."""
    path = written()
    content = path.read_bytes()
    one, minus = (0x10000).to_bytes(4, "big"), (0xFFFF0000).to_bytes(4, "big")
    zero, last = bytes(4), (0x40000000).to_bytes(4, "big")
    straight = one + zero * 3 + one + zero * 3 + last
    turned = zero + one + zero + minus + zero * 4 + last
    at = content.index(straight, content.index(b"tkhd"))
    path.write_bytes(content[:at] + turned + content[at + len(turned) :])
    (picture, *_) = open_clip(path, 2, 1).pictures
    assert picture.shape == (64, 48, 3)
    assert picture[:12, -12:].min() > 200  # the white corner is at the top right now
    assert picture[-12:].max() < 200
    assert picture[:, :12].max() < 200


def test_pyav_and_names_that_look_like_protocols(
    written: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written()
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.mp4", "file:clip.mp4", "50%d.mp4", "-i.mp4"):
        path.rename(name)
        path = Path(name)
        assert open_clip(path, 4, 4).total == 20


def test_pyav_and_a_title_in_another_encoding(written: Write) -> None:
    path = written("clip.avi", title="Caf_")
    path.write_bytes(path.read_bytes().replace(b"Caf_", b"Caf\xe9"))
    assert open_clip(path, 4, 4).total == 20


def test_pyav_and_damaged_videos_are_one_sentence(written: Write) -> None:
    path = written()
    content = path.read_bytes()
    for broken in (content[:-500], content[: len(content) // 2], b"no video at all" * 50):
        path.write_bytes(broken)
        with pytest.raises(PictureError, match=r"as a video \(Invalid data found") as caught:
            open_clip(path, 4, 4)
        assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", "words, which ffmpeg would draw\n" * 50),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile clip.mp4\n"),
    ],
)
def test_pyav_opens_nothing_but_videos(
    name: str, content: str, written: Write, tmp_path: Path
) -> None:
    """A playlist would read the files that it names."""
    written()
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(PictureError, match="not a video in a format that edgevit reads: mp4, mov"):
        open_clip(path, 4, 4)
