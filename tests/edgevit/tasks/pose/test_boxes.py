"""--boxes: every shape that is read, and one sentence for every other."""

import json
from pathlib import Path

import pytest

from edgevit.errors import UsageError
from edgevit.tasks.pose import boxes as module
from edgevit.tasks.pose.boxes import read_boxes

COCO = {
    "images": [
        {"id": 7, "file_name": "a.jpg"},
        {"id": 9, "file_name": "b.jpg"},
    ],
    "annotations": [
        {"image_id": 7, "bbox": [1, 2, 3, 4], "category_id": 1},
        {"image_id": 7, "bbox": [5, 6, 7.5, 8]},
    ],
}


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_by_picture(tmp_path: Path) -> None:
    path = written(tmp_path, {"a.jpg": [[1, 2, 3, 4.5]], "b.jpg": [], "c.jpg": "not looked at"})
    assert read_boxes(path, ["a.jpg", "b.jpg"]) == {"a.jpg": ((1, 2, 3, 4.5),), "b.jpg": ()}


def test_a_list_is_for_one_picture(tmp_path: Path) -> None:
    path = written(tmp_path, [[1, 2, 3, 4], [0, 0, 1, 1]])
    assert read_boxes(path, ["a.jpg"]) == {"a.jpg": ((1, 2, 3, 4), (0, 0, 1, 1))}
    with pytest.raises(UsageError, match="is for one picture, and 2 are given"):
        read_boxes(path, ["a.jpg", "b.jpg"])


def test_cocos_annotations(tmp_path: Path) -> None:
    found = read_boxes(written(tmp_path, COCO), ["a.jpg", "b.jpg"])
    assert found == {"a.jpg": ((1, 2, 3, 4), (5, 6, 7.5, 8)), "b.jpg": ()}


def test_a_picture_that_is_not_named_is_no_full_picture(tmp_path: Path) -> None:
    for content in ({"a.jpg": []}, COCO):
        with pytest.raises(UsageError, match=r"does not name the picture c\.jpg"):
            read_boxes(written(tmp_path, content), ["a.jpg", "c.jpg"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("null", "neither an object nor a list"),
        ({"a.jpg": {"x": 1}}, "a list of up to"),
        ({"a.jpg": [[1, 2, 3, 4]] * 1001}, "a list of up to"),
        ({"a.jpg": [[1, 2, 3]]}, "four numbers"),
        ({"a.jpg": [1, 2, 3, 4]}, "four numbers"),
        ({"a.jpg": [[1, 2, "3", 4]]}, "within"),
        ({"a.jpg": [[1, 2, True, 4]]}, "within"),
        ({"a.jpg": [[1, 2, 1e9, 4]]}, "within"),
        ('{"a.jpg": [[NaN, 2, 3, 4]]}', "within"),
        ({"a.jpg": [[1, 2, 0, 4]]}, "above 0"),
        ({"a.jpg": [[1, 2, 3, -4]]}, "above 0"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}, "not COCO's"),
        ({"images": [{}], "annotations": []}, "not COCO's"),
        ({"images": 5, "annotations": []}, "not COCO's"),
        ({**COCO, "annotations": [{"image_id": 8, "bbox": [1, 2, 3, 4]}]}, "not COCO's"),
        ({**COCO, "annotations": [{"image_id": [], "bbox": [1, 2, 3, 4]}]}, "not COCO's"),
    ],
)
def test_what_holds_no_boxes_is_one_sentence(content: object, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no boxes") as refused:
        read_boxes(written(tmp_path, content), ["a.jpg"])
    assert why in refused.value.message
    assert "photo.jpg" in str(refused.value.next)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_boxes(tmp_path / "nothing.json", ["a.jpg"])
    with pytest.raises(UsageError, match="cannot be read"):
        read_boxes(tmp_path, ["a.jpg"])
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="larger than"):
        read_boxes(written(tmp_path, COCO), ["a.jpg"])
    with pytest.raises(UsageError, match="larger than"):  # its end would never come
        read_boxes(Path("/dev/zero"), ["a.jpg"])
