"""Classification: a photo's likeliest classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from edgevit.tasks.classification.draw import captioned
from edgevit.tasks.classification.guesses import Guess, headline_of, top_guesses
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.preprocessing import Prepared, Preprocessing, preprocess
from edgevit.tasks.task import Outputs, Settings, Subject, Task, View

TOP = 5  # classes named by default


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What one input's outputs say of every class."""

    logits: FloatArray  # [C]

    @property
    def label(self) -> int:
        """The best class, of equals the first."""
        return int(self.logits.argmax())


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The likeliest classes of a picture."""

    photo: Picture  # RGB [H, W, 3]
    guesses: tuple[Guess, ...]  # the best first
    logits: FloatArray  # [C]

    @property
    def headline(self) -> str:
        """The best classes."""
        return headline_of(self.guesses)

    def to_json(self) -> dict[str, object]:
        """`guesses`, the best first."""
        return {"guesses": [guess.to_json() for guess in self.guesses]}

    def drawings(self) -> Mapping[str, Image.Image]:
        """The photo with its guesses below it."""
        return {"classes": captioned(Image.fromarray(self.photo), self.guesses)}


def prepare(view: View, spec: Preprocessing) -> list[Prepared]:
    """The photo as one input."""
    return [preprocess(view.frames[0], spec)]


def decode(outputs: Outputs, subject: Subject, prepared: Prepared) -> Scores:
    """Logits [1, C]; raises `CheckFailed` on another shape."""
    logits = outputs.floats()
    count = len(subject.labels)
    if logits.shape != (1, count):
        raise outputs.refused(f"logits of shape {logits.shape} for {count} classes")
    return Scores(logits[0])


def best_guesses(scores: Scores, subject: Subject, settings: Settings) -> tuple[Guess, ...]:
    """As many guesses as the settings ask for."""
    top = TOP if settings.top is None else settings.top
    return top_guesses(scores.logits, subject.labels, top)


def result_of(
    view: View, answers: Sequence[Scores], subject: Subject, settings: Settings
) -> Classification:
    """The photo and its best guesses."""
    (scores,) = answers
    return Classification(view.frames[0], best_guesses(scores, subject, settings), scores.logits)


TASK = Task(
    fits=("stretch", "pad", "crop"),
    settings=("top",),
    prepare=prepare,
    decode=decode,
    result_of=result_of,
    outputs="The output has a value a class, before softmax; `labels.txt` names them.",
)
