"""The golden picture of a task: a drawn scene, a figure, or a clip, and the input made from it."""

import numpy as np

from edgevit.data import scenes
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.preprocessing import Preprocessing, preprocess, preprocess_clip

GOLDEN_SEED = scenes.HELD_OUT_SEEDS[0]
CLIP_SEED = scenes.VIDEO_SEEDS[0]
CLIP_FRAMES = (2, 64)  # that `scenes.clip` draws
FIGURE_SHARE = 1 / 16  # of a scene that a figure covers at least


def golden_picture(task: str, spec: Preprocessing) -> tuple[Picture, FloatArray]:
    """A picture, uint8 [H, W, 3], and the network's input float32 [1, 3, (T,) H, W] made of it.

    Of a clip the picture holds the frames one below the other. For pose it is a figure cut out of a
    scene, so that its box is the whole picture.
    """
    height, width = spec.size
    if task == "video":
        low, high = CLIP_FRAMES
        drawn = scenes.clip(CLIP_SEED, min(max(spec.frames, low), high), height, width).frames
        # More frames than are drawn: some stand twice.
        chosen = np.arange(spec.frames) * len(drawn) // max(spec.frames, len(drawn))
        frames = [drawn[index] for index in chosen]
        return np.concatenate(frames), preprocess_clip(frames, spec).tensor
    picture = figure(spec) if task == "pose" else scenes.scene(GOLDEN_SEED, height, width).image
    return picture, preprocess(picture, spec).tensor


def figure(spec: Preprocessing) -> Picture:
    """The largest figure of the first held-out scene that has one of some size."""
    side = min(2048, max(128, 2 * max(spec.size)))
    for seed in scenes.POSE_SEEDS:
        drawn = scenes.scene(seed, side, side)
        if not len(drawn.boxes):
            continue
        boxes = drawn.boxes.astype(np.intp)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        left, top, right, bottom = boxes[areas.argmax()]
        if areas.max() >= FIGURE_SHARE * side * side:
            return np.ascontiguousarray(drawn.image[top:bottom, left:right])
    raise AssertionError("no held-out scene has a figure of this size")
