"""Scores of the micro networks on seeds that no training has seen, and what they mean.

Every score comes with a control, the same predictions against the truth of other samples (a
network that had learned nothing but frequencies would score the same), and with the score of a
guess that looks at no picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgevit.data import scenes
from edgevit.networks.parts.layers import Network
from edgevit.tasks.pose.pose import decode_heatmaps
from edgevit.tasks.pose.score import pck
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing, preprocess
from edgevit.tasks.segmentation.score import confusion, mean_iou
from scripts.micro.pools import normalize
from scripts.micro.recipes import Task

PCK_THRESHOLD = 0.05  # of the box's longer side
POSE_SIDE = 448  # px of the scenes that people are found in
CONTROL_SEED = 0
EVAL_BATCH = 50

Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """How good predictions are."""

    metric: str
    value: float
    samples: int
    shuffled: float  # the same predictions against the truth in another order
    blind: float  # the best guess that looks at no picture
    blind_is: str
    parts: dict[str, float]  # by class, motion or keypoint


def score(network: Network, task: Task, seeds: range, spec: Preprocessing) -> Score:
    """The score of a network in eval mode; what it is fed is what its bundle will feed it."""
    with torch.no_grad():
        match task:
            case "segmentation":
                return _segmentation(network, seeds, spec)
            case "pose":
                return _pose(network, seeds, spec)
            case "classification":
                names = scenes.CLASSES[1:]
                drawn: Iterator[tuple[NDArray[np.uint8], int]] = (
                    (d.image, d.label - 1) for d in (scenes.scene(s, *spec.size) for s in seeds)
                )
            case "video":
                names = scenes.MOTIONS
                drawn = (
                    (c.frames, c.label) for c in (scenes.clip(s, *spec.input_size) for s in seeds)
                )
        return _top1(network, drawn, names, spec)


def top1(predicted: Labels, truth: Labels, names: Sequence[str]) -> Score:
    """Top-1 of predicted labels [N] against the truth [N]; parts: recall by class."""
    shuffled = truth[np.random.default_rng(CONTROL_SEED).permutation(len(truth))]
    counts = np.bincount(truth, minlength=len(names))
    hits = np.bincount(truth[predicted == truth], minlength=len(names))
    return Score(
        "top-1",
        float((predicted == truth).mean()),
        len(truth),
        float((predicted == shuffled).mean()),
        float(counts.max() / len(truth)),
        f"always {names[int(counts.argmax())]!r}",
        {name: float(h / max(c, 1)) for name, h, c in zip(names, hits, counts, strict=True)},
    )


def _top1(
    network: Network,
    drawn: Iterator[tuple[NDArray[np.uint8], int]],
    names: Sequence[str],
    spec: Preprocessing,
) -> Score:
    predicted: list[int] = []
    truth: list[int] = []
    while pairs := list(islice(drawn, EVAL_BATCH)):
        images = torch.from_numpy(np.stack([image for image, _ in pairs]))
        predicted += _main(network(normalize(images, spec))).argmax(dim=1).tolist()
        truth += [label for _, label in pairs]
    return top1(np.array(predicted), np.array(truth), names)


def _segmentation(network: Network, seeds: range, spec: Preprocessing) -> Score:
    height, width = spec.size
    classes = len(scenes.CLASSES)
    found, truth = [], []
    for seed in seeds:
        drawn = scenes.scene(seed, height, width)
        logits = _main(network(normalize(torch.from_numpy(drawn.image.copy())[None], spec)))
        full = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
        found.append(full.argmax(dim=1)[0].numpy().astype(np.uint8))
        truth.append(drawn.mask)
    order = np.random.default_rng(CONTROL_SEED).permutation(len(truth))

    def miou(
        guess: Callable[[int], NDArray[np.uint8]], rows: Sequence[int]
    ) -> tuple[float, NDArray[np.float64]]:
        total = sum(
            (confusion(guess(i), truth[row], classes) for i, row in enumerate(rows)),
            start=np.zeros((classes, classes), np.int64),
        )
        value, per_class = mean_iou(total)
        return value, per_class

    value, per_class = miou(found.__getitem__, range(len(truth)))
    shuffled, _ = miou(found.__getitem__, order.tolist())
    blind, _ = miou(lambda _: np.zeros((height, width), np.uint8), range(len(truth)))
    parts = dict(zip(scenes.CLASSES, (float(v) for v in per_class), strict=True))
    return Score("mIoU", value, len(truth), shuffled, blind, "all 'background'", parts)


def _pose(network: Network, seeds: range, spec: Preprocessing) -> Score:
    points, truth, boxes = [], [], []
    for seed in seeds:
        drawn = scenes.scene(seed, POSE_SIDE, POSE_SIDE)
        for box, joints in zip(drawn.boxes, drawn.keypoints, strict=True):
            if not joints[:, 2].any():
                continue
            left, top, right, bottom = (float(v) for v in box)
            prepared = preprocess(drawn.image, spec, (left, top, right - left, bottom - top))
            heatmaps = _main(network(torch.from_numpy(prepared.tensor)))
            points.append(decode_heatmaps(heatmaps.numpy(), prepared).points)
            truth.append(joints)
            boxes.append(box)
    return pose_score(np.stack(points), np.stack(truth), np.stack(boxes))


def pose_score(
    points: NDArray[np.float32], joints: NDArray[np.float32], boxes: NDArray[np.float32]
) -> Score:
    """PCK of points [P, 17, 2] in px of the photo; joints [P, 17, 3] and boxes [P, 4] as a scene
    has them. All labeled keypoints count, hidden ones too.

    The control puts the predicted pose of another figure into the box; the blind guess is the mean
    pose of these very figures, laid over the box.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    sizes = sides.max(axis=1)
    visible = joints[..., 2] > 0

    def share(found: NDArray[np.float32]) -> tuple[float, NDArray[np.float64]]:
        return pck(found, joints[..., :2], visible, sizes, PCK_THRESHOLD)

    value, parts = share(points)
    inside = (points - boxes[:, None, :2]) / sides[:, None]
    order = np.random.default_rng(CONTROL_SEED).permutation(len(points))
    shuffled, _ = share(inside[order] * sides[:, None] + boxes[:, None, :2])
    true = (joints[..., :2] - boxes[:, None, :2]) / sides[:, None]
    mean = (true * visible[..., None]).sum(axis=0) / visible.sum(axis=0)[:, None]
    blind, _ = share(mean * sides[:, None] + boxes[:, None, :2])
    return Score(
        f"PCK closer than {PCK_THRESHOLD} of the box's longer side",
        value,
        len(points),
        shuffled,
        blind,
        "the mean pose in the box",
        dict(zip(COCO.names, (float(v) for v in parts), strict=True)),
    )


def _main(outputs: Tensor | dict[str, Tensor]) -> Tensor:
    if isinstance(outputs, dict):
        return outputs["heatmaps"] if "heatmaps" in outputs else outputs["logits"]
    return outputs
