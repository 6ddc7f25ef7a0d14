"""Names of the classes that published classifiers have, where a checkpoint does not say them.

labels/imagenet-1k.txt: the first WordNet lemma of each of the 1000 classes of ILSVRC 2012, in the
order of their synsets, which is everybody's class index (Keras' imagenet_class_index.json, as
pytorch/hub's imagenet_classes.txt has it); three lemmas that two classes share are told apart in
parentheses. labels/kinetics-400.txt: Kinetics-400's classes in alphabetical order, which is
SlowFast's and the data set's class index.
"""

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

SHIPPED: Mapping[tuple[str, int], str] = MappingProxyType(
    {
        ("classification", 1000): "imagenet-1k",
        ("video", 400): "kinetics-400",
    }
)


def shipped_names(task: str, count: int) -> tuple[str, ...]:
    """The names of a data set's classes, told by the task and their number; () where none fits."""
    name = SHIPPED.get((task, count))
    if name is None:
        return ()
    text = files("edgevit.data").joinpath("labels", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
