"""Photos and clips through one file of a bundle: preprocess, run, decode, by the manifest."""

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle
from edgevit.evaluation.subject import session_run
from edgevit.prediction.settings import check_settings, other_task
from edgevit.prediction.sources import Source, open_source
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.pose.task import flip_test
from edgevit.tasks.preprocessing import Box
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import USUAL, Outputs, Result, Settings, Subject
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.session import Session


@dataclass(frozen=True, slots=True)
class Predictor:
    """One opened file of a bundle."""

    bundle: Bundle
    file: FileEntry
    session: Session
    settings: Settings = USUAL

    def predict(self, source: Source, boxes: Sequence[Box] | None = None) -> Result:
        """What the network sees in one photo: a path, or RGB uint8 [H, W, 3].

        Of a video it sees a clip: a folder of frames, a video file, or the frames themselves, of
        which as many are taken as the network wants. boxes: for pose, x, y, width and height in px
        of each person; without them the whole photo is one.
        Raises `PictureError`, `UsageError`, and `CheckFailed` on an invalid output.
        """
        subject = Subject.of(self.bundle.manifest)
        task = TASKS[subject.task]
        if boxes is not None and "boxes" not in task.settings:
            raise other_task("boxes", self.bundle)
        view = open_source(source, boxes, self.bundle, self.settings)
        answers = [
            task.decode(self._look(prepared.tensor, subject), subject, prepared)
            for prepared in task.prepare(view, subject.preprocessing)
        ]
        return task.result_of(view, answers, subject, self.settings)

    def run(self, tensor: FloatArray) -> Outputs:
        """Run the file on a network's input [1, 3, ...]; its outputs as NCHW.

        Raises `CheckFailed` on values that are not finite, and on another number of outputs.
        """
        file, repair = self.file, f"edgevit verify {shlex.quote(str(self.bundle.path))}"
        arrays = session_run(self.session, file.inputs, file.outputs, file.path, repair)(tensor)
        names = tuple(spec.name for spec in file.outputs)
        return Outputs(tuple(arrays), names, file.path, repair)

    def _look(self, tensor: FloatArray, subject: Subject) -> Outputs:
        return flip_test(self.run, tensor, subject) if self.settings.flip_test else self.run(tensor)


def predict(
    bundle: Bundle,
    source: Source,
    format: str | None = None,  # noqa: A002 - a file format, as everywhere
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
    format: str | None = None,  # noqa: A002 - a file format, as everywhere
    settings: Settings = USUAL,
    threads: int = 1,
) -> Iterator[Predictor]:
    """Check one file's hash and open it.

    Raises `UsageError` where the bundle cannot do what the settings ask, `BadSetting` on a thread
    count out of bounds.
    """
    check_settings(bundle, settings)
    file = bundle.entry(format)
    with open_session(bundle.checked(file), threads=threads) as session:
        yield Predictor(bundle, file, session, settings)
