"""The subjects of evaluation: networks and files as functions from a sample to its answers."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgevit.bundle.ports import from_file, to_file
from edgevit.errors import CheckFailed
from edgevit.evaluation.data.samples import Sample
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.preprocessing import Prepared
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import Outputs, Subject, View
from edgevit_export.artifact import TensorSpec
from edgevit_runtimes.session import Session

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

Array = NDArray[np.generic]
# A network's input float32 [1, 3, (T,) H, W] to its outputs as the training-time network has them.
# The reference takes several inputs at once, [N, 3, ...]; an exported file takes one.
Run = Callable[[FloatArray], Sequence[Array]]
Answer = Any  # what the task's `decode` returns of one input


def inputs_of(subject: Subject, sample: Sample) -> list[Prepared]:
    """The network's inputs that a sample makes: one, for pose one a box.

    Raises `PictureError` and `UsageError` as `preprocess` does.
    """
    if sample.prepared is not None:
        return [sample.prepared]
    view = View(sample.frames, sample.boxes)
    return TASKS[subject.task].prepare(view, subject.preprocessing)


def answers(
    subject: Subject,
    run: Run,
    inputs: Sequence[Prepared],
    batch: int = 1,
    name: str = "A network",
) -> list[Answer]:
    """What a network says of each input, `batch` of them at a time; `name` is for its errors.

    Raises `CheckFailed` on invalid outputs: another shape, or values that are not finite.
    """
    decode = TASKS[subject.task].decode
    decoded: list[Answer] = []
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        # One input is not copied.
        tensor = (
            part[0].tensor if len(part) == 1 else np.concatenate([made.tensor for made in part])
        )
        arrays = run(tensor)
        for index, prepared in enumerate(part):
            outputs = Outputs(tuple(array[index : index + 1] for array in arrays), source=name)
            decoded.append(decode(outputs, subject, prepared))
    return decoded


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
    session: Session,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    name: str,
    repair: str | None = None,
) -> Run:
    """An opened file as a `Run`: its ports are those of an `Artifact` or a `FileEntry`.

    Raises `CheckFailed` that names the file where it returns another number of outputs; `repair` is
    its next command.
    """

    def run(tensor: FloatArray) -> list[Array]:
        arrays = session.run(to_file(tensor, inputs[0]))
        if len(arrays) != len(outputs):
            raise CheckFailed(
                f"{name} returned {len(arrays)} outputs for the {len(outputs)} it has.", next=repair
            )
        return [from_file(array, spec) for array, spec in zip(arrays, outputs, strict=True)]

    return run
