"""COCO's persons: what is read, and annotations that nobody should trust."""

import json

import pytest

from edgevit.errors import UsageError
from edgevit.evaluation.data import coco
from edgevit.evaluation.data.coco import annotation_file
from edgevit.evaluation.data.datasets import open_data
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.task import Subject

JOINTS = [value for i in range(17) for value in (i, 2 * i, 2 if i % 2 else 0)]


def content():
    return {
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 40},
            {"id": 2, "file_name": "b.png"},
            {"id": 3, "file_name": "nobody.png"},
        ],
        "annotations": [
            {"image_id": 1, "bbox": [1, 2, 10, 20], "keypoints": JOINTS, "area": 150.0},
            {"image_id": 1, "bbox": [5, 5, 8, 8], "keypoints": JOINTS, "area": 64, "iscrowd": 0},
            {"image_id": 2, "bbox": [0, 0, 9, 30], "keypoints": JOINTS},
            {"image_id": 2, "iscrowd": 1, "bbox": [0, 0, 9, 9], "segmentation": {}},
            {"image_id": 3, "bbox": [0, 0, 9, 9], "keypoints": [0] * 51, "num_keypoints": 0},
            {"image_id": 3, "bbox": [0, 0, 9, 9], "keypoints": [0] * 51},
        ],
        "categories": [{"id": 1, "keypoints": list(COCO.names)}],
    }


def write(root, held, name="person_keypoints_val2017.json"):
    path = root / "annotations" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(held if isinstance(held, str) else json.dumps(held))


@pytest.fixture(params=["val2017", "images/val2017", "images", "."])
def folder(request, tmp_path, paint):
    root = tmp_path / "coco"
    for name in ("a.png", "b.png"):
        paint(root / request.param / name, "red", (40, 40))
    write(root, content())
    return root


def test_persons_with_keypoints_are_read(folder, subjects):
    data = open_data(folder, subjects["pose"], "m")
    assert (data.metric, len(data)) == ("AP", 2)
    assert data.note.startswith("3 persons of person_keypoints_val2017.json")
    by_name = {sample.name.split("/")[-1]: sample for sample in data}
    both = by_name["a.png"]
    assert both.boxes == ((1.0, 2.0, 10.0, 20.0), (5.0, 5.0, 8.0, 8.0))
    assert both.areas == (150.0, 64.0)
    assert both.joints.shape == (2, 17, 3)
    assert both.joints[0, 3].tolist() == [3, 6, 2]
    assert by_name["b.png"].areas == (270.0,)


def change(**entries):
    def made():
        held = content()
        for key, value in entries.items():
            where, _, name = key.partition("__")
            held[where][0][name] = value
        return held

    return made


def without(key):
    held = content()
    del held[key]
    return held


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "x/../../a.png", "a\\b.png", "a\0.png"]
)
def test_file_names_that_leave_the_folder_are_not_opened(name, tmp_path, subjects, paint):
    paint(tmp_path / "a.png", "red")
    root = tmp_path / "coco"
    paint(root / "images" / "b.png", "red")
    write(root, change(images__file_name=name)())
    with pytest.raises(UsageError, match="outside the folder") as refused:
        open_data(root, subjects["pose"], "m")
    assert "do not trust" in refused.value.next


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "no object"),
        (without("images"), "images is no list"),
        (without("annotations"), "annotations is no list"),
        ({"images": [1], "annotations": []}, "images is no list of objects"),
        ({"images": [], "annotations": []}, "no photo in it"),
        (change(images__id="1")(), "no id"),
        (change(images__id=True)(), "no id"),
        (change(images__file_name=7)(), "no file_name"),
        (change(images__file_name="b.png")(), "the same file_name"),
        (change(images__id=9)(), "the image 1, which is not listed"),
        (change(annotations__image_id=None)(), "no image_id"),
        (change(annotations__keypoints=[1, 2, 2])(), "keypoints is not 51 numbers"),
        (change(annotations__keypoints=["x"] * 51)(), "no number within"),
        (change(annotations__keypoints=[10**400] * 51)(), "no number within"),
        (change(annotations__bbox=[0, 0, 0, 9])(), "no width"),
        (change(annotations__bbox=[0, 0, 1e9, 9])(), "no number within"),
        (change(annotations__bbox=7)(), "bbox is not 4 numbers"),
        (change(annotations__area=0)(), "not above 0"),
        (change(annotations__area=1e15)(), "no number within"),
        (json.dumps(content()).replace("150.0", "NaN"), "no number within"),
        (change(categories__keypoints=["nose"] * 17)(), "other names"),
    ],
)
def test_what_is_no_cocos_json_is_refused(held, why, tmp_path, subjects, paint):
    for name in ("a.png", "b.png"):
        paint(tmp_path / "images" / name, "red")
    write(tmp_path, held)
    with pytest.raises(UsageError, match=why):
        open_data(tmp_path, subjects["pose"], "m")


@pytest.mark.parametrize(
    ("limit", "value", "why"),
    [
        ("MOST_BYTES", 10, "larger than"),
        ("MOST_IMAGES", 2, "more than 2 images"),
        ("MOST_PEOPLE", 2, "more than 2 annotations"),
        ("MOST_IN_PICTURE", 1, "more than 1 persons"),
    ],
)
def test_counts_are_bounded(limit, value, why, folder, subjects, monkeypatch):
    monkeypatch.setattr(coco, limit, value)
    with pytest.raises(UsageError, match=why):
        open_data(folder, subjects["pose"], "m")


def test_a_photo_that_is_not_there_is_named(folder, subjects):
    next(folder.glob("**/b.png")).unlink()
    with pytest.raises(UsageError, match=r"names .*b\.png, which does not exist"):
        open_data(folder, subjects["pose"], "m")


def test_a_photo_that_is_a_link_out_is_not_opened(folder, subjects, tmp_path, paint):
    outside = paint(tmp_path / "outside.png", "red")
    path = next(folder.glob("**/b.png"))
    path.unlink()
    path.symlink_to(outside)
    with pytest.raises(UsageError, match="points outside"):
        open_data(folder, subjects["pose"], "m")


def test_of_several_annotations_the_validations(folder):
    found = annotation_file(folder)
    write(folder, "{}", "person_keypoints_train2017.json")
    assert annotation_file(folder) == found
    write(folder, "{}", "person_keypoints_val2014.json")
    with pytest.raises(UsageError, match="several"):
        annotation_file(folder)


def test_keypoints_of_unknown_sigmas_are_scored_by_pck(tmp_path, subjects, paint):
    names = tuple(f"k{i}" for i in range(17))
    paint(tmp_path / "images" / "a.png", "red")
    paint(tmp_path / "images" / "b.png", "red")
    write(tmp_path, without("categories"))
    other = Subject("pose", names, subjects["pose"].preprocessing)
    assert open_data(tmp_path, other, "m").metric == "PCK"
