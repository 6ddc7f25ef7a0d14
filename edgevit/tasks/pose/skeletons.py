"""SKELETONS: what the keypoints of each data set are called, how they mirror, and how they join."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The keypoints of a data set, in the order of its heatmaps."""

    names: tuple[str, ...]
    limbs: Pairs  # what a drawing joins
    pairs: Pairs  # left and right, which change places in a mirrored picture
    sigmas: tuple[float, ...] = ()  # of OKS, relative to the square root of the area; () is unknown

    @property
    def mirrored(self) -> tuple[int, ...]:
        """For every keypoint, the one that it becomes in a mirrored picture."""
        order = list(range(len(self.names)))
        for left, right in self.pairs:
            order[left], order[right] = right, left
        return tuple(order)


def dataset_names(dataset: str | None, count: int) -> tuple[str, ...]:
    """What the keypoints of a data set are called; without one, of the first with so many.

    () where none has them.
    """
    for name, skeleton in SKELETONS.items():
        if dataset in (None, name) and len(skeleton.names) == count:
            return skeleton.names
    return ()


def skeleton_with(names: tuple[str, ...]) -> Skeleton:
    """The data set's skeleton whose keypoints have these names, else one of points alone."""
    for skeleton in SKELETONS.values():
        if skeleton.names == names:
            return skeleton
    return Skeleton(names, (), ())


def _sides(names: tuple[str, ...], left: str = "left_", right: str = "right_") -> Pairs:
    """Indices of names that differ in their side alone."""
    return tuple(
        (index, names.index(right + name.removeprefix(left)))
        for index, name in enumerate(names)
        if name.startswith(left)
    )


def _chain(*indices: int) -> Pairs:
    return tuple(pairwise(indices))


def _sigmas(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split())


# Names, order, mirror pairs, limbs and sigmas: mmpose 0.x, configs/_base_/datasets/{coco,aic,mpii,
# ap10k,coco_wholebody}.py. COCO's sigmas are those of its own evaluation (cocoapi, cocoeval.py).
_COCO = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
_COCO_LIMBS: Pairs = (
    *_chain(15, 13, 11, 12, 14, 16),  # legs over the hips
    (5, 11),
    (6, 12),
    *_chain(9, 7, 5, 6, 8, 10),  # arms over the shoulders
    *_chain(5, 3, 1, 0, 2, 4, 6),  # ears, eyes and nose
    (1, 2),
)
_AIC = (
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
    "head_top",
    "neck",
)
_MPII = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
_AP10K = (
    "L_Eye",
    "R_Eye",
    "Nose",
    "Neck",
    "Root of tail",
    "L_Shoulder",
    "L_Elbow",
    "L_F_Paw",
    "R_Shoulder",
    "R_Elbow",
    "R_F_Paw",
    "L_Hip",
    "L_Knee",
    "L_B_Paw",
    "R_Hip",
    "R_Knee",
    "R_B_Paw",
)
_FEET = ("big_toe", "small_toe", "heel")
_FINGERS = ("thumb", "forefinger", "middle_finger", "ring_finger", "pinky_finger")
_HAND = ("hand_root", *(f"{finger}{joint}" for finger in _FINGERS for joint in (1, 2, 3, 4)))
_WHOLEBODY = (
    *_COCO,
    *(f"{side}_{name}" for side in ("left", "right") for name in _FEET),
    *(f"face-{index}" for index in range(68)),
    *(f"{side}_{name}" for side in ("left", "right") for name in _HAND),
)
_FACE, _LEFT_HAND, _RIGHT_HAND = 23, 91, 112  # where each begins
_FACE_PAIRS: Pairs = (
    *((index, 16 - index) for index in range(8)),  # chin line
    *((index, 43 - index) for index in range(17, 22)),  # brows
    *((31, 35), (32, 34)),  # nose
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # eyes
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58)),  # outer lips
    *((60, 64), (61, 63), (65, 67)),  # inner lips
)
_HAND_LIMBS: Pairs = tuple(
    limb
    for root in (_LEFT_HAND, _RIGHT_HAND)
    for first in range(root + 1, root + 21, 4)
    for limb in _chain(root, first, first + 1, first + 2, first + 3)
)

COCO = Skeleton(
    _COCO,
    _COCO_LIMBS,
    _sides(_COCO),
    _sigmas(".026 .025 .025 .035 .035 .079 .079 .072 .072 .062 .062 .107 .107 .087 .087 .089 .089"),
)
AIC = Skeleton(
    _AIC,
    (
        *_chain(2, 1, 0, 13, 3, 4, 5),
        *_chain(8, 7, 6, 9, 10, 11),
        (12, 13),
        (0, 6),
        (3, 9),
    ),
    _sides(_AIC),
    _sigmas(
        ".01388152 .01515228 .01057665 .01417709 .01497891 .01402144 .03909642 .03686941 "
        ".01981803 .03843971 .03412318 .02415081 .01291456 .01236173"
    ),
)
MPII = Skeleton(
    _MPII,
    (
        *_chain(0, 1, 2, 6, 3, 4, 5),
        *_chain(6, 7, 8, 9),
        *_chain(10, 11, 12, 8, 13, 14, 15),
    ),
    _sides(_MPII),
    _sigmas(".089 .083 .107 .107 .083 .089 .026 .026 .026 .026 .062 .072 .179 .179 .072 .062"),
)
AP10K = Skeleton(
    _AP10K,
    (
        *_chain(0, 1, 2, 0),
        *_chain(2, 3, 4),
        *_chain(3, 5, 6, 7),
        *_chain(3, 8, 9, 10),
        *_chain(4, 11, 12, 13),
        *_chain(4, 14, 15, 16),
    ),
    _sides(_AP10K, "L_", "R_"),
    _sigmas(".025 .025 .026 .035 .035 .079 .079 .072 .072 .062 .062 .107 .107 .087 .087 .089 .089"),
)
WHOLEBODY = Skeleton(
    _WHOLEBODY,
    (
        *_COCO_LIMBS,
        *((15, toe) for toe in (17, 18, 19)),
        *((16, toe) for toe in (20, 21, 22)),
        *_HAND_LIMBS,
    ),
    (*_sides(_WHOLEBODY), *((_FACE + left, _FACE + right) for left, right in _FACE_PAIRS)),
)

# Keys as ViTPose+ names its data sets. APT-36K is annotated like AP-10K.
SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {
        "coco": COCO,
        "aic": AIC,
        "mpii": MPII,
        "ap10k": AP10K,
        "apt36k": AP10K,
        "wholebody": WHOLEBODY,
    }
)
