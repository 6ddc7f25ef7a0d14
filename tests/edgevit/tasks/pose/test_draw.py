"""Skeletons: the tables themselves, and what is drawn of them."""

import numpy as np
import pytest

from edgevit.errors import UsageError
from edgevit.networks.vitpose.checkpoint import DATASETS
from edgevit.tasks.pose.draw import EDGE, LEFT, MIDDLE, RIGHT, draw_skeleton
from edgevit.tasks.pose.skeletons import COCO, SKELETONS

BLANK = np.full((400, 400, 3), 200, np.uint8)


def pose(points, score=1.0):
    """COCO keypoints that are all absent but some."""
    keypoints = np.zeros((17, 3), np.float32)
    for name, place in points.items():
        keypoints[COCO.names.index(name)] = (*place, score)
    return keypoints


def at(picture, x, y):
    return picture.getpixel((x, y))


def drawn(picture):
    return (np.asarray(picture) != 200).any(axis=2)


def test_every_table_is_whole():
    assert set(SKELETONS) == set(DATASETS)
    for name, skeleton in SKELETONS.items():
        count = len(skeleton.names)
        assert count == DATASETS[name]
        assert len(set(skeleton.names)) == count
        assert len(skeleton.sigmas) in (0, count)
        assert all(0 <= a < count and 0 <= b < count and a != b for a, b in skeleton.limbs)
        assert len({frozenset(limb) for limb in skeleton.limbs}) == len(skeleton.limbs)
        sides = [index for pair in skeleton.pairs for index in pair]
        assert len(set(sides)) == len(sides)


def test_coco_as_its_annotations_have_it():
    official = (
        "16-14 14-12 17-15 15-13 12-13 6-12 7-13 6-7 6-8 7-9 8-10 9-11 2-3 1-2 1-3 2-4 3-5 4-6 5-7"
    )
    wanted = {frozenset(int(end) - 1 for end in limb.split("-")) for limb in official.split()}
    assert {frozenset(limb) for limb in COCO.limbs} == wanted
    pairs = ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    assert COCO.pairs == pairs
    assert COCO.sigmas[0] == 0.026
    assert COCO.sigmas[-1] == 0.089


@pytest.mark.parametrize(
    ("name", "middle"),
    [
        ("aic", {"head_top", "neck"}),
        ("mpii", {"pelvis", "thorax", "upper_neck", "head_top"}),
        ("ap10k", {"Nose", "Neck", "Root of tail"}),
        ("wholebody", {"nose", *(f"face-{i}" for i in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66))}),
    ],
)
def test_all_but_the_middle_has_another_side(name, middle):
    skeleton = SKELETONS[name]
    for index, other in enumerate(skeleton.mirrored):
        assert (index == other) == (skeleton.names[index] in middle), skeleton.names[index]


def test_limbs_and_joints_have_their_sides_colors():
    sides = {
        "left_shoulder": (300, 100),
        "left_elbow": (300, 200),
        "right_shoulder": (100, 100),
        "right_elbow": (100, 200),
    }
    picture = draw_skeleton(BLANK, pose(sides))
    assert picture.size == (400, 400)
    assert at(picture, 300, 150) == LEFT
    assert at(picture, 100, 150) == RIGHT
    assert at(picture, 200, 100) == MIDDLE
    assert at(picture, 300, 200) == LEFT
    assert at(picture, 200, 300) == (200, 200, 200)
    assert (np.asarray(picture) == EDGE).all(axis=2).any()


def test_the_photo_itself_is_left_alone():
    before = BLANK.copy()
    draw_skeleton(BLANK, pose({"nose": (200, 200)}))
    assert np.array_equal(BLANK, before)
    untouched = np.asarray(draw_skeleton(BLANK, np.zeros((0, 17, 3), np.float32)))
    assert np.array_equal(untouched, BLANK)


def test_doubtful_keypoints_and_their_limbs_are_left_out():
    points = pose({"left_shoulder": (300, 100), "left_elbow": (300, 200)})
    points[COCO.names.index("left_elbow"), 2] = 0.2
    picture = draw_skeleton(BLANK, points)
    assert at(picture, 300, 100) == LEFT
    assert at(picture, 300, 150) == (200, 200, 200)
    assert at(draw_skeleton(BLANK, points, threshold=0.1), 300, 150) == LEFT


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -1e6])
def test_points_from_nowhere_draw_nothing(bad):
    assert not drawn(draw_skeleton(BLANK, pose({"nose": (bad, 5), "left_eye": (5, bad)}))).any()


def test_several_people_and_a_point_beyond_the_edge():
    two = np.stack([pose({"nose": (50, 50)}), pose({"nose": (350, 350)})])
    marks = drawn(draw_skeleton(BLANK, two))
    assert marks[50, 50]
    assert marks[350, 350]
    ends = {"left_shoulder": (200, 200), "left_elbow": (200, 600)}
    assert drawn(draw_skeleton(BLANK, pose(ends)))[399, 200]


def test_small_photos_are_enlarged_and_large_ones_get_thicker_lines():
    small = np.full((96, 128, 3), 200, np.uint8)
    picture = draw_skeleton(small, pose({"nose": (60, 40)}))
    assert picture.size == (384, 288)
    rows, columns = np.nonzero(drawn(picture))
    assert abs(columns.mean() - (60.5 * 3 - 0.5)) < 1
    assert abs(rows.mean() - (40.5 * 3 - 0.5)) < 1
    large = np.full((2500, 2500, 3), 200, np.uint8)
    wide = drawn(draw_skeleton(large, pose({"nose": (900, 700)})))
    assert wide.sum() > 20 * drawn(draw_skeleton(BLANK, pose({"nose": (90, 70)}))).sum()


def test_the_face_and_hands_are_drawn_finer():
    whole = np.zeros((133, 3), np.float32)
    whole[0] = (200, 200, 1)
    fine = drawn(draw_skeleton(BLANK, whole, SKELETONS["wholebody"])).sum()
    assert 0 < fine < drawn(draw_skeleton(BLANK, pose({"nose": (200, 200)}))).sum()


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="A photo is uint8"):
        draw_skeleton(BLANK[..., 0], pose({}))
    with pytest.raises(UsageError, match="17, 3"):
        draw_skeleton(BLANK, np.zeros((14, 3), np.float32))
    with pytest.raises(UsageError, match="17, 3"):
        draw_skeleton(BLANK, np.zeros(17, np.float32))
