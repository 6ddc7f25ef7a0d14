"""Clips out of videos: which frames a network sees, from a folder of pictures or a video file.

Source: facebookresearch/SlowFast, slowfast/datasets/decoder.py (`get_start_end_idx`,
`temporal_sampling`), of which the clip in the middle is taken, and slowfast/datasets/ssv2.py
(`get_seq_frames`).
"""

import errno
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgevit.errors import EnvironmentFailed, MissingDependency, PictureError
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pixels.resize import Picture

RATE = 30.0  # pictures a second that a stride is meant for (DATA.TARGET_FPS)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
MOST_PICTURES = 200_000  # of a video; about two hours
MOST_PIXELS = 64_000_000  # of a frame
MOST_IN_CLIP = 1 << 30  # pixels of the frames that are held at once, 3 GiB
INSTALL = 'pip install "edgevit[video]"'
# Each demuxer is attack surface, and some (playlists) open further files or draw text: only what
# videos come in is enabled.
CONTAINERS = ("mp4", "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif")
OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The frames that a network sees of a video."""

    pictures: tuple[Picture, ...]  # uint8 RGB [H, W, 3] each, of one size
    indices: tuple[int, ...]  # of the pictures in the video, from 0
    total: int  # pictures that the video has
    note: str  # what was done, a sentence


def sample_indices(total: int, frames: int, stride: int, rate: float = RATE) -> tuple[int, ...]:
    """Which pictures of a video of `total` make a clip of `frames`.

    stride: pictures from one frame to the next at 30 a second; rate: those that the video has a
    second. The clip spans `frames * stride * rate / 30` pictures in the video's middle, its first
    and last among the frames; where it is longer than the video, the last picture stands for those
    that are missing. stride 0 takes the middle of each of `frames` equal parts of the video.
    """
    if stride == 0:
        part = (total - 1) / frames
        return tuple(
            (round(part * index) + round(part * (index + 1))) // 2 for index in range(frames)
        )
    span = frames * stride * rate / RATE
    start = max(total - span, 0.0) / 2
    step = (span - 1) / max(1, frames - 1)
    # The small share keeps whole numbers whole.
    places = (math.floor(start + step * index + 1e-6) for index in range(frames))
    return tuple(min(max(place, 0), total - 1) for place in places)


def open_clip(path: Path, frames: int, stride: int) -> Clip:
    """Sample a clip from a folder of pictures, in the natural order of their names, or a video.

    A folder's pictures count as 30 a second. Raises `PictureError` where there are none, or they
    cannot be read or differ in size, `MissingDependency` where a video needs PyAV, and
    `EnvironmentFailed` where reading is not permitted.
    """
    if path.is_dir():
        return _from_folder(path, frames, stride)
    check_video(path)
    return _from_file(path, frames, stride)


def check_video(path: Path) -> None:
    """Refuse what `open_clip` could not open, without decoding it; raises as that does."""
    look = f"ls -ld {shlex.quote(str(path))}"
    try:
        if not path.exists():
            raise PictureError(
                f"There is no video {path}.", next=f"ls {shlex.quote(str(path.parent))}"
            )
        if path.is_dir():
            return
        if not path.is_file():  # a pipe or device would block or never end
            raise PictureError(f"{path} is neither a file nor a folder.", next=look)
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except PermissionError:
        raise EnvironmentFailed(f"{path} cannot be read: permission denied.", next=look) from None
    if empty:
        raise PictureError(f"{path} is empty.", next=look)
    if path.suffix.lower() in SUFFIXES and path.suffix.lower() != ".gif":
        raise PictureError(
            f"{path} is a single picture, but this model takes videos.",
            next="give a folder of frames, or a video file",
        )
    _pyav(path)


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    parts = re.split(r"([0-9]{1,18})", name)  # text and numbers in turn
    return [(int(p), "") if i % 2 else (-1, p.lower()) for i, p in enumerate(parts)]


def _from_folder(folder: Path, frames: int, stride: int) -> Clip:
    try:
        files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.name[0] != "."]
    except PermissionError:
        raise EnvironmentFailed(
            f"{folder} cannot be read: permission denied.",
            next=f"ls -ld {shlex.quote(str(folder))}",
        ) from None
    if not files:
        raise PictureError(
            f"The folder {folder} holds no pictures.", next=f"ls {shlex.quote(str(folder))}"
        )
    files.sort(key=lambda path: (natural_order(path.name), path.name))
    indices = sample_indices(len(files), frames, stride)
    wanted = set(indices)
    opened: dict[int, Picture] = {}
    for index in sorted(wanted):
        picture = opened[index] = open_picture(files[index])
        _check_clip(folder, len(wanted), picture)
        first = opened[indices[0]]
        if picture.shape != first.shape:
            raise PictureError(
                f"{files[index]} is {picture.shape[1]} x {picture.shape[0]}, and"
                f" {files[indices[0]].name} is {first.shape[1]} x {first.shape[0]}: all frames of a"
                " clip must have the same size.",
                next=f"ls {shlex.quote(str(folder))}",
            )
    note = _note(len(files), indices, stride, RATE)
    return Clip(tuple(opened[index] for index in indices), indices, len(files), note)


def _pyav(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise MissingDependency(
            f"Reading the video {path.name} needs PyAV, which is not installed; a folder with its"
            " frames works without it.",
            next=INSTALL,
        ) from None
    return av


def _from_file(path: Path, frames: int, stride: int) -> Clip:
    av = _pyav(path)
    look = f"file {shlex.quote(str(path))}"
    try:
        with _container(av, path) as container:
            if not container.streams.video:
                raise PictureError(f"{path} holds no video.", next=look)
            rate = float(container.streams.video[0].average_rate or RATE)
        rate = rate if 1 <= rate <= 1000 else RATE
        total = sum(1 for _ in _decoded(av, path))
        if not total:
            raise PictureError(f"{path} holds no picture that can be decoded.", next=look)
        indices = sample_indices(total, frames, stride, rate)
        wanted = set(indices)
        opened: dict[int, Picture] = {}
        for index, frame in enumerate(islice(_decoded(av, path), max(wanted) + 1)):
            if index in wanted:
                opened[index] = _upright(frame)
                _check_clip(path, len(wanted), opened[index])
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # ffmpeg's sentence alone: the number and the path around it say nothing new.
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()).rstrip(".")
        raise PictureError(
            f"{path} cannot be read as a video ({reason or type(error).__name__}).", next=look
        ) from None
    if len({picture.shape for picture in opened.values()}) != 1:
        raise PictureError(
            f"{path} changes its size from frame to frame.",
            next=f"ffprobe {shlex.quote(str(path))}",
        )
    note = _note(total, indices, stride, rate)
    return Clip(tuple(opened[index] for index in indices), indices, total, note)


def _container(av: Any, path: Path) -> Any:
    """An opened file of one of `CONTAINERS`; raises `PictureError` where it is of another kind."""
    try:
        # The protocol is named, or ffmpeg takes the start of 12:30.mp4 for one.
        return av.open(f"file:{path}", options=dict(OPTIONS), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        if error.errno != errno.EINVAL:
            raise
        raise PictureError(
            f"{path} is not a video in a format that edgevit reads: {', '.join(CONTAINERS)}.",
            next=f"file {shlex.quote(str(path))}",
        ) from None


def _decoded(av: Any, path: Path) -> Iterator[Any]:
    """Every picture of the first video stream, its size and their number bounded."""
    with _container(av, path) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index >= MOST_PICTURES or frame.width * frame.height > MOST_PIXELS:
                raise PictureError(
                    f"{path} has more than {MOST_PICTURES} pictures, or {MOST_PIXELS} pixels in"
                    " one of them.",
                    next="cut the video to the part that matters",
                )
            yield frame


def _check_clip(path: Path, frames: int, picture: Picture) -> None:
    """Raise `PictureError` where so many pictures of this size are too much to hold."""
    height, width = picture.shape[:2]
    if frames * height * width > MOST_IN_CLIP:
        raise PictureError(
            f"{path} gives {frames} frames of {width} x {height}, more than {MOST_IN_CLIP} pixels"
            " together.",
            next="make its pictures smaller: the network resizes them anyway",
        )


def _upright(frame: Any) -> Picture:
    """The picture as it is meant to be seen: phones store a turn beside the frames."""
    turns = round(getattr(frame, "rotation", 0) / 90)  # counterclockwise, as rot90 turns
    picture: Picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, turns))


def _note(total: int, indices: tuple[int, ...], stride: int, rate: float) -> str:
    frames = len(indices)
    if stride == 0:
        said = f"{frames} frames spread over {total} pictures"
    else:
        span = f"{indices[0] + 1} to {indices[-1] + 1} of {total}"
        said = f"{frames} frames, stride {stride} at {rate:g} pictures a second: pictures {span}"
    repeated = frames - len(set(indices))
    if not repeated:
        return f"{said}."
    short = stride == 0 or frames * stride * rate / RATE > total
    why = (
        "the video is shorter than the clip"
        if short
        else f"the clip wants {RATE / stride:g} a second"
    )
    return f"{said}; {why}, so {repeated} frames are repeated."
