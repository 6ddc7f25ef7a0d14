"""The shipped names: whole, distinct, and in the data sets' own order."""

import pytest

from edgevit.data.names import SHIPPED, shipped_names


@pytest.mark.parametrize(("task", "count"), SHIPPED)
def test_every_list_is_whole(task: str, count: int) -> None:
    names = shipped_names(task, count)
    assert len(names) == len(set(names)) == count
    assert all(name and name == name.strip() for name in names)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        # Indices that are known from everybody's examples, over the whole range.
        (0, "tench"),
        (134, "crane (bird)"),
        (207, "golden retriever"),
        (281, "tabby"),
        (340, "zebra"),
        (517, "crane (machine)"),
        (639, "maillot (tank suit)"),
        (817, "sports car"),
        (920, "traffic light"),
        (954, "banana"),
        (999, "toilet tissue"),
    ],
)
def test_imagenets_order(index: int, name: str) -> None:
    assert shipped_names("classification", 1000)[index] == name


@pytest.mark.parametrize(
    ("index", "name"),
    [
        # As pytorchvideo's kinetics_classnames.json has them.
        (0, "abseiling"),
        (19, "bench pressing"),
        (81, "cutting nails"),
        (115, "eating ice cream"),
        (192, "marching"),
        (231, "playing flute"),
        (290, "sharpening knives"),
        (358, "throwing discus"),
        (399, "zumba"),
    ],
)
def test_kinetics_order(index: int, name: str) -> None:
    names = shipped_names("video", 400)
    assert names[index] == name
    assert list(names) == sorted(names)


def test_other_counts_have_no_names() -> None:
    assert shipped_names("classification", 400) == ()
    assert shipped_names("video", 174) == ()
    assert shipped_names("segmentation", 1000) == ()
