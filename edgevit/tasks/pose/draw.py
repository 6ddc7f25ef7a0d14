"""Showing poses: limbs and joints over the photo, left and right told apart by color."""

import numpy as np
from PIL import Image, ImageDraw

from edgevit.errors import UsageError
from edgevit.tasks.drawing.style import SMALLEST_PHOTO, Color
from edgevit.tasks.pixels.resize import FloatArray, Picture
from edgevit.tasks.pose.skeletons import COCO, Skeleton

LEFT: Color = (72, 220, 120)
RIGHT: Color = (255, 150, 50)
MIDDLE: Color = (80, 170, 255)
EDGE: Color = (20, 20, 24)  # around every line: it shows on any photo
THRESHOLD = 0.3  # of a keypoint's score
SMOOTH = 2  # lines are drawn so many times larger, then reduced
SMOOTH_PIXELS = 4_000_000  # of a photo; above, a line is many pixels wide as it is
DENSE = 40  # keypoints of a skeleton from which on joints are drawn smaller


def draw_skeleton(
    image: Picture,
    keypoints: FloatArray,
    skeleton: Skeleton = COCO,
    threshold: float = THRESHOLD,
) -> Image.Image:
    """The photo with limbs and joints drawn on it.

    image: uint8 RGB [H, W, 3]. keypoints: float [P, K, 3], or [K, 3] of one person: x and y in px
    of the photo, and a score. A keypoint below `threshold`, not finite, or farther outside than the
    photo is large, is left out, and so are its limbs. Photos below 384 pixels are enlarged by a
    whole factor, as `segmentation.draw.overlay` does.
    Raises `UsageError` on shapes that do not fit.
    """
    people = np.asarray(keypoints, np.float64)
    people = people[None] if people.ndim == 2 else people
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UsageError(f"A photo is uint8 [H, W, 3], not {image.dtype} of shape {image.shape}.")
    if people.shape[1:] != (len(skeleton.names), 3):
        raise UsageError(
            f"Keypoints of this skeleton are [P, {len(skeleton.names)}, 3], not"
            f" {tuple(np.shape(keypoints))}."
        )
    zoom = max(1, -(-SMALLEST_PHOTO // max(image.shape[:2])))
    photo = Image.fromarray(image.repeat(zoom, 0).repeat(zoom, 1))
    smooth = SMOOTH if photo.width * photo.height <= SMOOTH_PIXELS else 1
    layer = Image.new("RGBA", (photo.width * smooth, photo.height * smooth), (*EDGE, 0))
    draw = ImageDraw.Draw(layer)
    thickness = max(2.0, min(photo.size) / 130) * smooth
    if len(skeleton.names) >= DENSE:
        thickness /= 2
    for person in people:
        _draw_person(draw, person, skeleton, threshold, image.shape[:2], zoom * smooth, thickness)
    if smooth > 1:
        layer = layer.reduce(smooth)
    photo.paste(layer.convert("RGB"), mask=layer.getchannel("A"))
    return photo


def _draw_person(
    draw: ImageDraw.ImageDraw,
    person: FloatArray,
    skeleton: Skeleton,
    threshold: float,
    size: tuple[int, int],
    scale: int,
    thickness: float,
) -> None:
    height, width = size
    shown = {
        index: ((x + 0.5) * scale, (y + 0.5) * scale)
        for index, (x, y, score) in enumerate(person.tolist())
        if score >= threshold and -width <= x <= 2 * width and -height <= y <= 2 * height
    }
    limbs = [limb for limb in skeleton.limbs if limb[0] in shown and limb[1] in shown]
    colors = [_side_color(name) for name in skeleton.names]
    rim = max(1.0, thickness / 3)
    for grown, inner in ((rim, False), (0.0, True)):  # every edge first, so that none cuts a limb
        for start, end in limbs:
            color = colors[start] if colors[start] == colors[end] else MIDDLE
            draw.line(
                (*shown[start], *shown[end]),
                fill=(*(color if inner else EDGE), 255),
                width=max(1, round(thickness + 2 * grown)),
            )
        for index, (x, y) in shown.items():
            radius = 0.9 * thickness + grown
            draw.ellipse(
                (x - radius, y - radius, x + radius, y + radius),
                fill=(*(colors[index] if inner else EDGE), 255),
            )


def _side_color(name: str) -> Color:
    low = name.lower()
    if low.startswith(("left_", "l_")):
        return LEFT
    return RIGHT if low.startswith(("right_", "r_")) else MIDDLE
