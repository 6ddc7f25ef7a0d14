"""What each task's network sees in a picture or a clip, as numbers, as text and as pictures.

Every result has the same three: `headline`, a line for a table; `to_json()`, plain data;
`drawings()`, pictures by the ending of their file's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from edgevit.tasks.classification import Guess
from edgevit.tasks.draw import overlay, percent, short
from edgevit.tasks.draw_pose import THRESHOLD, draw_skeleton
from edgevit.tasks.draw_sheets import captioned, sheet
from edgevit.tasks.features import FeatureMap, pca_picture
from edgevit.tasks.keypoints import Skeleton
from edgevit.tasks.pixels.mask import Labels
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.pose import Pose
from edgevit.tasks.preprocessing import Box
from edgevit.tasks.video import Clip

NAMED = 3  # classes of a headline


class Result(Protocol):
    """What `edgevit run` writes."""

    @property
    def headline(self) -> str:
        """One line for a table."""

    def to_json(self) -> dict[str, object]:
        """Plain data."""

    def drawings(self) -> Mapping[str, Image.Image]:
        """Pictures by the ending of their file's name."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The class of each pixel."""

    photo: Picture  # RGB [H, W, 3]
    mask: Labels  # [H, W], class index, at the photo's size
    network_mask: Labels  # at the network's input size, the exact mask
    shares: Mapping[str, float]  # class name -> share of the photo's pixels
    labels: tuple[str, ...]

    @property
    def headline(self) -> str:
        """The largest classes."""
        ranked = sorted(self.shares.items(), key=lambda item: -item[1])[:NAMED]
        return ", ".join(f"{name} {share:.1%}" for name, share in ranked)

    def to_json(self) -> dict[str, object]:
        """`shares` of the photo by class."""
        return {"shares": {name: round(share, 6) for name, share in self.shares.items()}}

    def drawings(self) -> Mapping[str, Image.Image]:
        """The overlay with its legend, and the mask, one class index a pixel."""
        return {
            "overlay": overlay(self.photo, self.mask, self.labels),
            "mask": Image.fromarray(self.mask),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The likeliest classes of a picture."""

    photo: Picture  # RGB [H, W, 3]
    guesses: tuple[Guess, ...]  # the best first
    logits: FloatArray  # [C]

    @property
    def headline(self) -> str:
        """The best classes."""
        return _named(self.guesses)

    def to_json(self) -> dict[str, object]:
        """`guesses`, the best first."""
        return {"guesses": [guess.to_json() for guess in self.guesses]}

    def drawings(self) -> Mapping[str, Image.Image]:
        """The photo with its guesses below it."""
        return {"classes": captioned(Image.fromarray(self.photo), self.guesses)}


@dataclass(frozen=True, slots=True, eq=False)
class VideoClassification:
    """The likeliest classes of a clip."""

    clip: Clip
    guesses: tuple[Guess, ...]  # the best first
    logits: FloatArray  # [C]

    @property
    def headline(self) -> str:
        """The best classes."""
        return _named(self.guesses)

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


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """The keypoints of each box of a picture."""

    photo: Picture  # RGB [H, W, 3]
    boxes: tuple[Box, ...]
    poses: tuple[Pose, ...]  # one a box
    skeleton: Skeleton
    threshold: float = THRESHOLD  # of a keypoint's score, to be drawn and counted

    @property
    def headline(self) -> str:
        """How many keypoints were found in how many boxes."""
        found = sum(int((pose.scores >= self.threshold).sum()) for pose in self.poses)
        everyone = len(self.poses) * len(self.skeleton.names)
        boxes = "1 box" if len(self.poses) == 1 else f"{len(self.poses)} boxes"
        return f"{found} of {everyone} keypoints in {boxes}"

    def to_json(self) -> dict[str, object]:
        """`people`: of each its `box` (x, y, width, height in px) and `keypoints`."""
        return {
            "people": [
                {
                    "box": [round(value, 2) for value in box],
                    "keypoints": pose.to_json(self.skeleton),
                }
                for box, pose in zip(self.boxes, self.poses, strict=True)
            ]
        }

    def drawings(self) -> Mapping[str, Image.Image]:
        """The photo with every skeleton on it."""
        keypoints = np.zeros((len(self.poses), len(self.skeleton.names), 3), np.float32)
        for index, pose in enumerate(self.poses):
            keypoints[index] = pose.keypoints
        return {"pose": draw_skeleton(self.photo, keypoints, self.skeleton, self.threshold)}


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
        for one in self.maps:
            shape = "x".join(map(str, one.shape))
            caption = f"{short(one.name)} {shape}, norm {one.mean_norm:.3g}"
            tiles.append((pca_picture(one.values), caption))
        return {"features": sheet(tiles)}


def _named(guesses: tuple[Guess, ...]) -> str:
    return ", ".join(f"{guess.name} {percent(guess.probability)}" for guess in guesses[:NAMED])
