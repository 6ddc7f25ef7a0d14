"""What is evaluated: a network's task, labels and preprocessing, and what its outputs answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgevit.bundle.manifest import Manifest
from edgevit.bundle.ports import from_file, to_file
from edgevit.errors import CheckFailed
from edgevit.evaluation.data.samples import Sample
from edgevit.tasks.pixels.mask import Labels, exact_mask
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.pose import Pose, decode
from edgevit.tasks.preprocessing import Prepared, Preprocessing, preprocess, preprocess_clip
from edgevit.tasks.segmentation import restore_mask
from edgevit_export.artifact import TensorSpec
from edgevit_runtimes.session import Session

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

Array = NDArray[np.generic]
# A network's input float32 [1, 3, (T,) H, W] to its outputs as the training-time network has them.
# The reference takes several inputs at once, [N, 3, ...]; an exported file takes one.
Run = Callable[[FloatArray], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Subject:
    """All that is needed to feed a network and to read its outputs."""

    task: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, manifest: Manifest) -> "Subject":
        """A bundle's."""
        return cls(manifest.task, manifest.labels, manifest.preprocessing)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one input's outputs say, by task; the rest stays empty."""

    label: int = -1  # classification, video: the best class, of equals the first
    logits: FloatArray | None = None  # classification, video: [C]
    mask: Labels | None = None  # segmentation: [H, W] at the photo's own size
    pose: Pose | None = None  # pose: in px of the photo
    maps: tuple[FloatArray, ...] = ()  # features: each output; pose: the heatmaps [K, h, w]


def inputs_of(subject: Subject, sample: Sample) -> list[Prepared]:
    """The network's inputs that a sample makes: one, for pose one a box.

    Raises `PictureError` and `UsageError` as `preprocess` does.
    """
    if sample.prepared is not None:
        return [sample.prepared]
    spec = subject.preprocessing
    if subject.task == "video":
        return [preprocess_clip(sample.frames, spec)]
    photo = sample.frames[0]
    if subject.task == "pose":
        return [preprocess(photo, spec, box) for box in sample.boxes]
    return [preprocess(photo, spec)]


def answer(subject: Subject, outputs: Sequence[Array], prepared: Prepared) -> Answer:
    """Decode one input's outputs as `edgevit run` does.

    outputs: as the training-time network has them, batch 1 (a mask's batch too). Raises
    `CheckFailed` where they mean nothing: another shape, or values that are not finite.
    """
    for array in outputs:
        if not np.issubdtype(array.dtype, np.integer) and not np.isfinite(array).all():
            raise CheckFailed("A network returned values that are not finite.")
    match subject.task:
        case "segmentation":
            return Answer(mask=restore_mask(_mask(subject, outputs[0]), prepared))
        case "pose":
            maps = _floats(outputs[0])
            _expect(maps.ndim == 4 and maps.shape[:2] == (1, len(subject.labels)), maps)
            return Answer(pose=decode(maps, prepared), maps=(maps[0],))
        case "features":
            return Answer(maps=tuple(_floats(array) for array in outputs))
    logits = _floats(outputs[0])
    _expect(logits.shape == (1, len(subject.labels)), logits)
    return Answer(label=int(logits[0].argmax()), logits=logits[0])


def _mask(subject: Subject, array: Array) -> Labels:
    """The exact mask at the network's size, of logits [1, C, h, w] or of a label map [1, H, W]."""
    count, size = len(subject.labels), subject.preprocessing.size
    if np.issubdtype(array.dtype, np.integer):
        inside = array.shape == (1, *size) and array.min() >= 0 and array.max() < count
        _expect(bool(inside), array)
        labels: Labels = array[0].astype(np.uint8 if count <= 256 else np.uint16)
        return labels
    _expect(array.ndim == 4 and array.shape[:2] == (1, count) and array.size > 0, array)
    return exact_mask(_floats(array[0]), size)


def answers(subject: Subject, run: Run, inputs: Sequence[Prepared], batch: int = 1) -> list[Answer]:
    """What a network says of each input, `batch` of them at a time."""
    found: list[Answer] = []
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        # One input is not copied.
        fed = part[0].tensor if len(part) == 1 else np.concatenate([one.tensor for one in part])
        outputs = run(fed)
        for index, one in enumerate(part):
            found.append(answer(subject, [array[index : index + 1] for array in outputs], one))
    return found


def network_run(network: "Network") -> Run:
    """A torch network in eval mode as a `Run`; takes batches."""
    import torch

    def run(tensor: FloatArray) -> list[Array]:
        with torch.no_grad():
            out = network(torch.from_numpy(np.ascontiguousarray(tensor)))
        outputs = out if isinstance(out, tuple) else (out,)
        return [value.numpy() for value in outputs]

    return run


def session_run(
    session: Session, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], name: str
) -> Run:
    """An opened file as a `Run`: its ports are those of an `Artifact` or a `FileEntry`.

    Raises `CheckFailed` that names the file where it returns another number of outputs.
    """

    def run(tensor: FloatArray) -> list[Array]:
        found = session.run(to_file(tensor, inputs[0]))
        if len(found) != len(outputs):
            raise CheckFailed(
                f"{name} returned {len(found)} outputs for the {len(outputs)} it has."
            )
        return [from_file(array, spec) for array, spec in zip(found, outputs, strict=True)]

    return run


def _expect(fits: bool, array: Array) -> None:
    if not fits:
        raise CheckFailed(f"A network's output of shape {array.shape} does not fit its labels.")


def _floats(array: Array) -> FloatArray:
    return np.asarray(array, np.float32)
