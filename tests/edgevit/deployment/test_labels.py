"""Names of classes and keypoints: a file's, the checkpoint's, a data set's, numbers."""

from pathlib import Path

import pytest

from edgevit.deployment.labels import labels_of
from edgevit.errors import UsageError
from edgevit.request.spec import DeploySpec, Source
from edgevit.tasks.pose.skeletons import COCO, SKELETONS, dataset_names, skeleton_with


def spec(model: str, **source: object) -> DeploySpec:
    return DeploySpec(model, Path("out"), source=Source(**source))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "count", "first"),
    [
        ("vit-tiny-16", 1000, "tench"),
        ("vit-tiny-16", 10, "class 0"),
        ("topformer-t-cls", 1000, "tench"),
        ("mvitv2-s-video", 400, "abseiling"),
        ("mvitv2-s-video", 174, "class 0"),
        ("topformer-t", 150, "class 0"),
        ("vitpose-s", 17, "nose"),
        ("vitpose-s", 14, "right_shoulder"),
        ("vitpose-s", 21, "keypoint 0"),
    ],
)
def test_a_data_set_is_told_by_task_and_count(model: str, count: int, first: str) -> None:
    found = labels_of(spec(model), count, {})
    assert len(found) == count
    assert found[0] == first


@pytest.mark.parametrize("dataset", SKELETONS)
def test_keypoints_of_the_asked_data_set(dataset: str) -> None:
    names = SKELETONS[dataset].names
    asked = spec("vitpose-plus-s", options=(("dataset", dataset),))
    assert labels_of(asked, len(names), {}) == names
    assert skeleton_with(names).names == names
    assert skeleton_with(names).limbs


def test_a_skeleton_of_unknown_names_has_points_alone() -> None:
    found = skeleton_with(("a", "b"))
    assert (found.names, found.limbs, found.pairs) == (("a", "b"), (), ())
    assert dataset_names("coco", 14) == ()
    assert dataset_names(None, 17) == COCO.names


def test_the_checkpoints_names_come_before_a_data_sets() -> None:
    names = tuple(f"thing {index}" for index in range(1000))
    assert labels_of(spec("vit-tiny-16"), 1000, {"CLASSES": names}) == names
    assert labels_of(spec("vit-tiny-16"), 1000, {"CLASSES": names[:5]})[0] == "tench"
    with pytest.raises(UsageError, match="has two classes with the same name"):
        labels_of(spec("topformer-t"), 2, {"CLASSES": ["a", " a"]})
    assert labels_of(spec("vit-tiny-16"), 2, {"CLASSES": ["a", " a"]}) == ("a", "a")


def test_a_file_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("cat\n\n dog \n")
    asked = spec("vit-tiny-16", labels=path)
    assert labels_of(asked, 2, {"CLASSES": ["a", "b"]}) == ("cat", "dog")
    with pytest.raises(UsageError, match="holds 2 names for 3 classes"):
        labels_of(asked, 3, {})


def test_two_classes_of_one_name_are_refused_where_answers_have_no_number(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("crane\ncrane\n")
    assert labels_of(spec("vit-tiny-16", labels=path), 2, {}) == ("crane", "crane")
    with pytest.raises(UsageError, match="names two classes 'crane'"):
        labels_of(spec("topformer-t", labels=path), 2, {})


@pytest.mark.parametrize(
    ("held", "reason"),
    [(b"\xff\xfe", "no text in UTF-8"), (b"a\n" * (2 << 20) + b"b", "too large"), (None, "cannot")],
)
def test_a_file_of_no_names_is_refused(held: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    if held is not None:
        path.write_bytes(held)
    with pytest.raises(UsageError, match=reason) as caught:
        labels_of(spec("vit-tiny-16", labels=path), 2, {})
    assert caught.value.next


def test_features_have_none(tmp_path: Path) -> None:
    assert labels_of(spec("topformer-t-features"), 0, {}) == ()
    with pytest.raises(UsageError, match="has no classes to name"):
        labels_of(spec("topformer-t-features", labels=tmp_path / "names.txt"), 0, {})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a\0b", "Name 1 of .* has a control character: 'a.x00b'"),
        ("a\x1b[31mb", "control character"),
        ("x" * 301, "has 301 characters; at most 300 fit"),
    ],
)
def test_a_file_of_names_that_no_bundle_holds_is_refused(
    line: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "names.txt"
    path.write_text(f"{line}\nother\n", encoding="utf-8")
    with pytest.raises(UsageError, match=why) as refused:
        labels_of(spec("vit-tiny-16", labels=path), 2, {})
    assert refused.value.exit_code == 2
    assert refused.value.next == "--labels NAMES.txt, one name a line"
    assert refused.value.message.isprintable()


def test_names_that_fill_a_manifest_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    names = [f"{index}{'道' * 290}" for index in range(1300)]  # 1.1 MiB, and 2.2 with escapes
    path.write_text("\n".join(names), encoding="utf-8")
    with pytest.raises(UsageError, match="take 2 MiB in a manifest"):
        labels_of(spec("vit-tiny-16", labels=path), len(names), {})


def test_the_checkpoints_names_are_cleaned() -> None:
    names = ("a\0b", "bed ", "c\ud800", "d\x1b[31m", "e\u2028f", "Stra\u00dfe", "\u202eright")
    found = labels_of(spec("vit-tiny-16"), len(names), {"CLASSES": names})
    assert found == ("a b", "bed", "c", "d [31m", "e f", "Stra\u00dfe", "\u202eright")
    with pytest.raises(UsageError, match="Name 2 of the checkpoint has 900 characters"):
        labels_of(spec("vit-tiny-16"), 2, {"CLASSES": ["a", "b" * 900]})
