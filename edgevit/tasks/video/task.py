"""Video: the likeliest classes of a clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from edgevit.tasks.classification.draw import captioned
from edgevit.tasks.classification.guesses import Guess, headline_of
from edgevit.tasks.classification.task import Scores, best_guesses, decode
from edgevit.tasks.clips import Clip
from edgevit.tasks.drawing.sheets import sheet
from edgevit.tasks.pixels.resize import FloatArray
from edgevit.tasks.preprocessing import Prepared, Preprocessing, preprocess_clip
from edgevit.tasks.task import Settings, Subject, Task, View


@dataclass(frozen=True, slots=True, eq=False)
class VideoClassification:
    """The likeliest classes of a clip."""

    clip: Clip
    guesses: tuple[Guess, ...]  # the best first
    logits: FloatArray  # [C]

    @property
    def headline(self) -> str:
        """The best classes."""
        return headline_of(self.guesses)

    def to_json(self) -> dict[str, object]:
        """`guesses`, the `frames` that were seen, by index from 0, and a `note` of why these."""
        return {
            "guesses": [guess.to_json() for guess in self.guesses],
            "frames": list(self.clip.indices),
            "pictures": self.clip.total,
            "note": self.clip.note,
        }

    def drawings(self) -> Mapping[str, Image.Image]:
        """The frames in reading order, the guesses below them."""
        tiles = [
            (picture, f"picture {index + 1}")
            for picture, index in zip(self.clip.pictures, self.clip.indices, strict=True)
        ]
        return {"clip": captioned(sheet(tiles), self.guesses)}


def prepare(view: View, spec: Preprocessing) -> list[Prepared]:
    """The clip as one input."""
    return [preprocess_clip(view.frames, spec)]


def result_of(
    view: View, answers: Sequence[Scores], subject: Subject, settings: Settings
) -> VideoClassification:
    """The clip and its best guesses."""
    (scores,) = answers
    assert view.clip is not None  # `run` opens clips for this task
    return VideoClassification(view.clip, best_guesses(scores, subject, settings), scores.logits)


TASK = Task(
    fits=("stretch", "pad", "crop"),
    settings=("top", "stride"),
    prepare=prepare,
    decode=decode,
    result_of=result_of,
    outputs="The output has a value a class, before softmax; `labels.txt` names them.",
    golden="one picture with a clip's frames, one below the other",
    clips=True,
)
