"""Photos and clips through one file of a bundle: preprocess, run, decode, by the manifest."""

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle
from edgevit.bundle.ports import from_file, to_file
from edgevit.errors import CheckFailed, UsageError
from edgevit.tasks.classification import Guess, top_guesses
from edgevit.tasks.draw_pose import THRESHOLD
from edgevit.tasks.features import feature_map
from edgevit.tasks.keypoints import skeleton_with
from edgevit.tasks.pictures import open_picture
from edgevit.tasks.pixels.mask import Labels, exact_mask
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.pose import average_mirrored, decode, mirror
from edgevit.tasks.preprocessing import Box, preprocess, preprocess_clip, visible
from edgevit.tasks.results import (
    Classification,
    Features,
    PoseEstimate,
    Result,
    Segmentation,
    VideoClassification,
)
from edgevit.tasks.segmentation import class_shares, official_resize, restore_mask
from edgevit.tasks.video import RATE, Clip, open_clip, sample_indices
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.session import Session

Source = Path | str | Picture | Sequence[Picture]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a prediction is made, where a task leaves a choice; None and False: as is usual."""

    official_resize: bool = False  # segmentation: mmseg's two resizes of the logits
    top: int | None = None  # classification, video: how many classes are told, 5
    stride: int | None = None  # video: pictures from one frame to the next, 0 for all of it
    flip_test: bool = False  # pose: the mean with the mirrored picture's heatmaps
    threshold: float | None = None  # pose: of a keypoint's score, to be drawn, 0.3
    boxes: bool = False  # pose: boxes are given beside the picture


# Which of `Settings` a task knows.
SETTINGS_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "segmentation": ("official_resize",),
        "classification": ("top",),
        "video": ("top", "stride"),
        "pose": ("flip_test", "threshold", "boxes"),
        "features": (),
    }
)


@dataclass(frozen=True, slots=True)
class Predictor:
    """One opened file of a bundle."""

    bundle: Bundle
    file: FileEntry
    session: Session
    settings: Settings = Settings()

    def predict(self, source: Source, boxes: Sequence[Box] | None = None) -> Result:
        """What the network sees in one photo: a path, or RGB uint8 [H, W, 3].

        Of a video it sees a clip: a folder of frames, a video file, or the frames themselves, of
        which as many are taken as the network wants. boxes: for pose, x, y, width and height in px
        of each person; without them the whole photo is one.
        Raises `PictureError`, `UsageError`, and `CheckFailed` on an output that means nothing.
        """
        task = self.bundle.manifest.task
        if boxes is not None and task != "pose":
            raise _refused("boxes", self.bundle)
        return PREDICT[task](self, source, boxes)

    def outputs(self, tensor: FloatArray) -> list[NDArray[np.generic]]:
        """Run the file on a network's input [1, 3, ...]; its outputs as NCHW, all finite.

        Raises `CheckFailed` where one is not, and on another number of outputs.
        """
        found = self.session.run(to_file(tensor, self.file.inputs[0]))
        named = len(self.file.outputs)
        if len(found) != named:
            raise self.broken(f"{len(found)} outputs for the {named} of its bundle")
        arrays = [from_file(a, s) for a, s in zip(found, self.file.outputs, strict=True)]
        for array in arrays:
            if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
                raise self.broken("values that are not finite")
        return arrays

    def broken(self, what: str) -> CheckFailed:
        """The file returned something that its bundle does not allow."""
        return CheckFailed(
            f"{self.file.path} returned {what}.",
            next=f"edgevit verify {shlex.quote(str(self.bundle.path))}",
        )


def _segment(predictor: Predictor, source: Source, _: Sequence[Box] | None) -> Segmentation:
    photo = _photo(predictor, source)
    manifest = predictor.bundle.manifest
    prepared = preprocess(photo, manifest.preprocessing)
    array = predictor.outputs(prepared.tensor)[0]
    if np.issubdtype(array.dtype, np.integer):
        network_mask = _labels(predictor, array)
    else:
        network_mask = exact_mask(_scores(predictor, array), manifest.preprocessing.size)
    if predictor.settings.official_resize:
        mask = official_resize(_scores(predictor, array), prepared)
    else:
        mask = restore_mask(network_mask, prepared)
    shares = class_shares(mask, manifest.labels)
    return Segmentation(photo, mask, network_mask, shares, manifest.labels)


def _labels(predictor: Predictor, array: NDArray[np.generic]) -> Labels:
    """The label map [1, H, W] that a file returned, as [H, W] in `exact_mask`'s type."""
    manifest = predictor.bundle.manifest
    count, size = len(manifest.labels), manifest.preprocessing.size
    if array.shape != (1, *size):
        raise predictor.broken(f"a mask of shape {array.shape} for an input of {size[0]}x{size[1]}")
    if array.min() < 0 or array.max() >= count:
        raise predictor.broken(f"labels outside its {count} classes")
    labels: Labels = array[0].astype(np.uint8 if count <= 256 else np.uint16)
    return labels


def _scores(predictor: Predictor, array: NDArray[np.generic]) -> FloatArray:
    """The logits [1, C, h, w] that a file returned, as [C, h, w]."""
    count = len(predictor.bundle.manifest.labels)
    if array.ndim != 4 or array.shape[:2] != (1, count) or not array.size:
        raise predictor.broken(f"logits of shape {array.shape} for {count} classes")
    return _floats(array[0])


def _classify(predictor: Predictor, source: Source, _: Sequence[Box] | None) -> Classification:
    photo = _photo(predictor, source)
    prepared = preprocess(photo, predictor.bundle.manifest.preprocessing)
    guesses, logits = _guesses(predictor, prepared.tensor)
    return Classification(photo, guesses, logits)


def _watch(predictor: Predictor, source: Source, _: Sequence[Box] | None) -> VideoClassification:
    spec = predictor.bundle.manifest.preprocessing
    stride = predictor.settings.stride
    clip = _clip(source, spec.frames, spec.stride if stride is None else stride)
    guesses, logits = _guesses(predictor, preprocess_clip(clip.pictures, spec).tensor)
    return VideoClassification(clip, guesses, logits)


def _guesses(predictor: Predictor, tensor: FloatArray) -> tuple[tuple[Guess, ...], FloatArray]:
    names = predictor.bundle.manifest.labels
    logits = _floats(predictor.outputs(tensor)[0])
    if logits.shape != (1, len(names)):
        raise predictor.broken(f"logits of shape {logits.shape} for {len(names)} classes")
    top = predictor.settings.top
    return top_guesses(logits, names, 5 if top is None else top), logits[0]


def _find_poses(predictor: Predictor, source: Source, boxes: Sequence[Box] | None) -> PoseEstimate:
    photo = _photo(predictor, source)
    manifest, settings = predictor.bundle.manifest, predictor.settings
    skeleton = skeleton_with(manifest.labels)
    if settings.flip_test and not skeleton.pairs:
        raise UsageError(
            "The flip test needs to know which keypoints are left and right, which is not known of"
            f" the {len(skeleton.names)} keypoints of this bundle.",
            next="leave --flip-test out",
        )
    height, width = photo.shape[:2]
    chosen = ((0.0, 0.0, float(width), float(height)),) if boxes is None else tuple(boxes)
    poses = []
    for box in chosen:
        prepared = preprocess(photo, manifest.preprocessing, box)
        heatmaps = _heatmaps(predictor, prepared.tensor, len(skeleton.names))
        if settings.flip_test:
            mirrored = _heatmaps(predictor, mirror(prepared.tensor), len(skeleton.names))
            heatmaps = average_mirrored(heatmaps, mirrored, skeleton)
        poses.append(decode(heatmaps, prepared))
    threshold = THRESHOLD if settings.threshold is None else settings.threshold
    return PoseEstimate(photo, chosen, tuple(poses), skeleton, threshold)


def _heatmaps(predictor: Predictor, tensor: FloatArray, keypoints: int) -> FloatArray:
    maps = _floats(predictor.outputs(tensor)[0])
    if maps.ndim != 4 or maps.shape[:2] != (1, keypoints):
        raise predictor.broken(f"heatmaps of shape {maps.shape} for {keypoints} keypoints")
    return maps


def _map_features(predictor: Predictor, source: Source, _: Sequence[Box] | None) -> Features:
    spec = predictor.bundle.manifest.preprocessing
    prepared = preprocess(_photo(predictor, source), spec)
    found = predictor.outputs(prepared.tensor)
    named = zip(predictor.file.outputs, found, strict=True)
    maps = tuple(feature_map(s.name, _floats(a)) for s, a in named)
    return Features(visible(prepared.tensor, spec), maps)


PREDICT: Mapping[str, Callable[[Predictor, Source, Sequence[Box] | None], Result]] = (
    MappingProxyType(
        {
            "segmentation": _segment,
            "classification": _classify,
            "video": _watch,
            "pose": _find_poses,
            "features": _map_features,
        }
    )
)


def predict(
    bundle: Bundle,
    source: Source,
    format: str | None = None,  # noqa: A002 - the design's word
    boxes: Sequence[Box] | None = None,
) -> Result:
    """What the network sees, through the file of `format`, as a result of the bundle's task.

    source: a photo's path, or RGB uint8 [H, W, 3]; for video a folder of frames, a video file, or
    the frames. boxes: for pose, x, y, width and height in px of each person. Raises as
    `open_predictor` and `Predictor.predict` do.
    """
    with open_predictor(bundle, format) as predictor:
        return predictor.predict(source, boxes)


@contextlib.contextmanager
def open_predictor(
    bundle: Bundle,
    format: str | None = None,  # noqa: A002 - the design's word
    settings: Settings = Settings(),
    threads: int = 1,
) -> Iterator[Predictor]:
    """Check one file's hash and open it; raises `UsageError` where the bundle cannot do what is
    asked.
    """
    check_settings(bundle, settings)
    file = bundle.entry(format)
    with open_session(bundle.checked(file), threads=threads) as session:
        yield Predictor(bundle, file, session, settings)


def check_settings(bundle: Bundle, settings: Settings) -> None:
    """Raise `UsageError` on a setting that the bundle's task does not know, or out of bounds."""
    manifest = bundle.manifest
    if manifest.task not in PREDICT:
        raise UsageError(
            f"There is no task {manifest.task!r}; there are {', '.join(PREDICT)}.",
            next=f"edgevit verify {shlex.quote(str(bundle.path))}",
        )
    usual = Settings()
    for field in fields(Settings):
        same = getattr(settings, field.name) == getattr(usual, field.name)
        if not same and field.name not in SETTINGS_OF[manifest.task]:
            raise _refused(field.name, bundle)
    if settings.official_resize and manifest.output == "mask":
        raise UsageError(
            "--official-resize needs logits; this bundle's files return the mask.",
            next="edgevit export with --output logits",
        )
    if settings.top is not None and settings.top < 1:
        raise UsageError(f"--top takes a number of classes from 1, not {settings.top}.")
    if settings.stride is not None and not 0 <= settings.stride <= 1024:
        raise UsageError(f"--stride takes a number from 0 to 1024, not {settings.stride}.")
    if settings.threshold is not None and not 0 <= settings.threshold <= 1:
        raise UsageError(f"--threshold takes a score from 0 to 1, not {settings.threshold:g}.")


def _refused(name: str, bundle: Bundle) -> UsageError:
    tasks = [task for task, known in SETTINGS_OF.items() if name in known]
    manifest = bundle.manifest
    return UsageError(
        f"--{name.replace('_', '-')} is for {' and '.join(tasks)}; {manifest.model}'s task is"
        f" {manifest.task}.",
        next=f"edgevit run {shlex.quote(str(bundle.path))} FILE",
    )


def _photo(predictor: Predictor, source: Source) -> Picture:
    if isinstance(source, str | Path):
        if Path(source).is_dir():
            bundle, folder = shlex.quote(str(predictor.bundle.path)), shlex.quote(str(source))
            raise UsageError(
                f"{source} is a folder, and {predictor.bundle.manifest.model} takes pictures.",
                next=f"edgevit run {bundle} {folder}/*.jpg",
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


def _floats(array: NDArray[np.generic]) -> FloatArray:
    return np.asarray(array, np.float32)
