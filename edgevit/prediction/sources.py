"""The inputs of a bundle: a photo, a video or frames, prepared for its network."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgevit.bundle.opened import Bundle
from edgevit.errors import UsageError
from edgevit.tasks.clips import RATE, Clip, open_clip, sample_indices
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pixels.resize import Picture
from edgevit.tasks.preprocessing import Box, whole_photo
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import Settings, View

Source = Path | str | Picture | Sequence[Picture]


def open_source(
    source: Source, boxes: Sequence[Box] | None, bundle: Bundle, settings: Settings
) -> View:
    """A photo with its boxes (without them one box is all of it), or a clip's sampled frames.

    Raises `PictureError`, and `UsageError` on a source of another kind than the network takes.
    """
    manifest = bundle.manifest
    if TASKS[manifest.task].clips:
        spec = manifest.preprocessing
        stride = spec.stride if settings.stride is None else settings.stride
        clip = _clip(source, spec.frames, stride)
        return View(clip.pictures, clip=clip)
    photo = _photo(source, bundle)
    return View((photo,), (whole_photo(photo),) if boxes is None else tuple(boxes))


def _photo(source: Source, bundle: Bundle) -> Picture:
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            place, folder = shlex.quote(str(bundle.path)), shlex.quote(str(source))
            raise UsageError(
                f"{source} is a folder, and {bundle.manifest.model} takes pictures.",
                next=f"edgevit run {place} {folder}/*.jpg",
            )
        return open_picture(Path(source))
    if isinstance(source, np.ndarray):
        return source
    raise UsageError("This network takes one picture, not several: no clip.")


def _clip(source: Source, frames: int, stride: int) -> Clip:
    if isinstance(source, str | Path):
        return open_clip(Path(source), frames, stride)
    pictures = tuple(source)
    if not pictures:
        raise UsageError("A clip has at least one frame.")
    indices = sample_indices(len(pictures), frames, stride, RATE)
    return Clip(tuple(pictures[i] for i in indices), indices, len(pictures), "Frames as given.")
