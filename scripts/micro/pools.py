"""Training data: pools of drawn scenes, kept as bytes on disk, and batches from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from edgevit.data import scenes
from edgevit.tasks.pixels.warp import region_matrix, warp_affine
from edgevit.tasks.pose.skeletons import COCO
from edgevit.tasks.preprocessing import Preprocessing, box_region
from scripts.micro.recipes import Stage, Task

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]

MASK_STRIDE = 2  # masks are kept at half resolution: a quarter of the memory, and borders count
HEATMAP_STRIDE = 4
POSE_SIDES = (256, 320, 384, 448)  # px of the scenes that people are cut out of
CROPS = 2  # of each person, so that drawing the scene pays
SHIFT, SCALE = 0.08, 0.25  # how far a training crop may be off the true box, as shares of it
# What a label becomes in a mirrored clip, and in one that runs backwards.
MIRRORED = tuple(
    scenes.MOTIONS.index(name)
    for name in (
        *("still", "right", "left", "up", "down"),
        *("grow", "shrink", "counterclockwise", "clockwise"),
    )
)
REVERSED = tuple(
    scenes.MOTIONS.index(name)
    for name in (
        *("still", "right", "left", "down", "up"),
        *("shrink", "grow", "counterclockwise", "clockwise"),
    )
)


@dataclass(frozen=True, slots=True)
class Pool:
    """Samples of one task; only what the task needs is there."""

    task: Task
    images: Bytes  # [N, H, W, 3], or [N, T, H, W, 3]
    labels: NDArray[np.int64]  # [N], from 0; all 0 for segmentation and pose
    masks: Bytes | None = None  # [N, H / 2, W / 2]
    points: Floats | None = None  # [N, 17, 3] in px of the heatmap, and visibility

    def __len__(self) -> int:
        return len(self.images)


def pool(task: Task, size: tuple[int, ...], count: int, root: Path) -> Pool:
    """The pool of the first `count` training scenes at this input size; drawn where it is missing.

    Classification and segmentation of one size share their pools.
    """
    kind = {"classification": "scenes", "segmentation": "scenes"}.get(task, task)
    folder = root / f"{kind}-{'x'.join(map(str, size))}-{count}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        match kind:
            case "scenes":
                _draw_scenes(folder, size, count)
            case "pose":
                _draw_people(folder, size, count)
            case _:
                _draw_clips(folder, size, count)
        (folder / "done").touch()
    # Read whole: rows are taken in random order, and a mapped file would be read again and again.
    arrays = {path.stem: np.load(path) for path in folder.glob("*.npy")}
    return Pool(task, arrays["images"], arrays["labels"], arrays.get("masks"), arrays.get("points"))


def _draw_scenes(folder: Path, size: tuple[int, ...], count: int) -> None:
    height, width = size
    images = _new(folder, "images", (count, height, width, 3))
    masks = _new(folder, "masks", (count, height // MASK_STRIDE, width // MASK_STRIDE))
    labels = np.empty(count, np.int64)
    for index in range(count):
        drawn = scenes.scene(scenes.TRAIN_SEEDS[index], height, width)
        images[index] = drawn.image
        masks[index] = drawn.mask[::MASK_STRIDE, ::MASK_STRIDE]
        labels[index] = drawn.label - 1
    np.save(folder / "labels.npy", labels)


def _draw_clips(folder: Path, size: tuple[int, ...], count: int) -> None:
    images = _new(folder, "images", (count, *size, 3))
    labels = np.empty(count, np.int64)
    for index in range(count):
        drawn = scenes.clip(scenes.TRAIN_SEEDS[index], *size)
        images[index], labels[index] = drawn.frames, drawn.label
    np.save(folder / "labels.npy", labels)


def _draw_people(folder: Path, size: tuple[int, ...], count: int) -> None:
    """Crops of every figure in `count` scenes, as the bundle will cut them but for the jitter."""
    crops, points = [], []
    rng = np.random.default_rng(0)
    for index in range(count):
        side = POSE_SIDES[index % len(POSE_SIDES)]
        drawn = scenes.scene(scenes.TRAIN_SEEDS[index], side, side)
        for box, joints in zip(drawn.boxes, drawn.keypoints, strict=True):
            for _ in range(CROPS):
                crop, moved = cut_person(drawn.image, joints, _jittered(box, rng), size)
                crops.append(crop)
                points.append(moved)
    np.save(folder / "images.npy", np.stack(crops))
    np.save(folder / "points.npy", np.stack(points))
    np.save(folder / "labels.npy", np.zeros(len(crops), np.int64))


def _jittered(box: Floats, rng: np.random.Generator) -> Floats:
    """xyxy, moved and scaled a little: a detector's box is never exact."""
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    center = center + rng.uniform(-SHIFT, SHIFT, 2) * 2 * half.max()
    half = half * rng.uniform(1 - SCALE, 1 + SCALE)
    jittered: Floats = np.concatenate((center - half, center + half)).astype(np.float32)
    return jittered


def cut_person(
    image: Bytes, joints: Floats, box: Floats, size: tuple[int, ...]
) -> tuple[Bytes, Floats]:
    """The network's input of an xyxy box, uint8 [H, W, 3], and the keypoints [17, 3] in px of its
    heatmap, which UDP lays corner on corner over the input; what falls outside has visibility 0.
    """
    height, width = size
    left, top, right, bottom = (float(v) for v in box)
    region = box_region((left, top, right - left, bottom - top), (height, width))
    matrix = region_matrix(*region, (height, width), udp=True)
    crop = warp_affine(image, matrix, (height, width))
    columns, rows = width // HEATMAP_STRIDE, height // HEATMAP_STRIDE
    moved = joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    moved = moved * ((columns - 1) / (width - 1), (rows - 1) / (height - 1))
    inside = ((moved > -0.5) & (moved < (columns - 0.5, rows - 0.5))).all(axis=1)
    seen = np.where(inside, joints[:, 2], 0)
    return crop, np.concatenate((moved, seen[:, None]), axis=1).astype(np.float32)


def _new(folder: Path, name: str, shape: tuple[int, ...]) -> Bytes:
    array: Bytes = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]  # numpy's
        folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape
    )
    return array


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step looks at; images are normalized."""

    images: Tensor  # float32 [B, 3, (T,) H, W]
    labels: Tensor  # int64 [B]
    masks: Tensor | None = None  # int64 [B, H / 2, W / 2]
    points: Tensor | None = None  # float32 [B, 17, 3]


def batch(source: Pool, first: int, stage: Stage, spec: Preprocessing) -> Batch:
    """Samples `first` and on of an endless order in which every sample comes once before any comes
    again; half of them mirrored, brightness, contrast and colors moved. The same for the same
    arguments.
    """
    size = stage.batch
    rng = np.random.default_rng([first, 0])
    places = np.arange(first, first + size)
    orders = {
        number: np.random.default_rng([number, 1]).permutation(len(source))
        for number in {int(place) // len(source) for place in (places[0], places[-1])}
    }
    rows = [orders[int(place) // len(source)][int(place) % len(source)] for place in places]
    images = source.images[rows]
    labels = source.labels[rows]
    masks = None if source.masks is None else source.masks[rows]
    points = None if source.points is None else source.points[rows].copy()
    mirror = rng.random(size) < 0.5
    pixels = torch.from_numpy(images)
    for row in np.flatnonzero(mirror).tolist():  # one by one: thrice as fast as all at once
        pixels[row] = pixels[row].flip(-2)
    if source.task == "video":
        labels[mirror] = np.array(MIRRORED)[labels[mirror]]
        backwards = rng.random(size) < 0.5
        pixels[torch.from_numpy(backwards)] = pixels[torch.from_numpy(backwards)].flip(1)
        labels[backwards] = np.array(REVERSED)[labels[backwards]]
    if masks is not None:
        masks[mirror] = masks[mirror][..., ::-1]
    if points is not None:
        columns = images.shape[-2] // HEATMAP_STRIDE
        turned = points[mirror][:, list(COCO.mirrored)]
        turned[..., 0] = columns - 1 - turned[..., 0]
        points[mirror] = turned
    gain, offset = recoloring(rng, size)
    x = affine(pixels, spec, gain, offset)
    if stage.shrink > 1:
        shape = x.shape
        x = F.avg_pool2d(x.flatten(0, -4), stage.shrink)
        x = x.reshape(*shape[:-2], *x.shape[-2:])
    return Batch(
        x,
        torch.from_numpy(labels),
        None if masks is None else torch.from_numpy(masks.astype(np.int64)),
        None if points is None else torch.from_numpy(points),
    )


def recoloring(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Factors and offsets of normalized values, [count, 3] each: brightness and contrast of all
    channels, and of each a little.
    """
    gain = rng.uniform(0.8, 1.25, (count, 1)) * rng.uniform(0.9, 1.1, (count, 3))
    offset = rng.uniform(-0.2, 0.2, (count, 1)) + rng.uniform(-0.1, 0.1, (count, 3))
    return gain.astype(np.float32), offset.astype(np.float32)


def normalize(images: Tensor, spec: Preprocessing) -> Tensor:
    """uint8 [B, (T,) H, W, 3] -> float32 [B, 3, (T,) H, W], as the bundle will do it."""
    count = len(images)
    return affine(images, spec, np.ones((count, 3), np.float32), np.zeros((count, 3), np.float32))


def affine(images: Tensor, spec: Preprocessing, gain: Floats, offset: Floats) -> Tensor:
    """`normalize`, then `* gain + offset` [B, 3]; channels stay the innermost in memory."""
    scale = gain / np.array(spec.std, np.float32)
    shift = offset - np.array(spec.mean, np.float32) * scale
    # A line of pixels at a time: torch is slow where the innermost axis is as short as three.
    width = images.shape[-2]
    lines = images.reshape(len(images), -1, 3 * width).float()
    factors, terms = (torch.from_numpy(np.tile(v, (1, width))).unsqueeze(1) for v in (scale, shift))
    return lines.mul_(factors).add_(terms).reshape(images.shape).movedim(-1, 1)
