"""Features: the maps of a backbone, measured and drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from edgevit.tasks.drawing.sheets import sheet
from edgevit.tasks.drawing.style import short
from edgevit.tasks.features.maps import FeatureMap, feature_map, pca_picture
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.preprocessing import Prepared, Preprocessing, preprocess, visible
from edgevit.tasks.task import Outputs, Settings, Subject, Task, View


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """The feature maps of one input."""

    maps: tuple[FeatureMap, ...]
    tensor: FloatArray  # [1, 3, H, W], the input


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The maps of a backbone."""

    seen: Picture  # RGB [H, W, 3], the photo as the network got it: the maps lie on it
    maps: tuple[FeatureMap, ...]

    @property
    def headline(self) -> str:
        """The shape of each map."""
        return ", ".join(f"{m.name} {'x'.join(map(str, m.shape))}" for m in self.maps)

    def to_json(self) -> dict[str, object]:
        """`maps`: of each its shape and its mean norm."""
        return {"maps": {m.name: m.to_json() for m in self.maps}}

    def drawings(self) -> Mapping[str, Image.Image]:
        """What the network got, and the first principal components of each map in colors."""
        tiles = [(self.seen, "what the network gets")]
        for entry in self.maps:
            shape = "x".join(map(str, entry.shape))
            caption = f"{short(entry.name)} {shape}, norm {entry.mean_norm:.3g}"
            tiles.append((pca_picture(entry.values), caption))
        return {"features": sheet(tiles)}


def prepare(view: View, spec: Preprocessing) -> list[Prepared]:
    """The photo as one input."""
    return [preprocess(view.frames[0], spec)]


def decode(outputs: Outputs, subject: Subject, prepared: Prepared) -> Maps:
    """Each output [1, C, h, w] as a map, by its name or its number.

    Raises `CheckFailed` on another shape.
    """
    names = outputs.names or tuple(map(str, range(len(outputs.arrays))))
    maps = []
    for index, name in enumerate(names):
        array = outputs.floats(index)
        if array.ndim != 4 or len(array) != 1 or not array.size:
            raise outputs.refused(f"features of shape {array.shape} for the map {name}")
        maps.append(feature_map(name, array))
    return Maps(tuple(maps), prepared.tensor)


def result_of(
    view: View, answers: Sequence[Maps], subject: Subject, settings: Settings
) -> Features:
    """The maps, and the photo that they lie on."""
    (answer,) = answers
    return Features(visible(answer.tensor, subject.preprocessing), answer.maps)


TASK = Task(
    fits=("stretch", "pad", "crop"),
    settings=(),
    prepare=prepare,
    decode=decode,
    result_of=result_of,
    outputs="Each output is a map of features, [1, channels, height, width].",
)
