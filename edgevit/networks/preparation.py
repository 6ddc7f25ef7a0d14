"""How a source of weights prepares its pictures, for any input size: what systems share.

A card names the preparation of its official weights, a checkpoint another where it tells its
source, and `--preprocessing` overrides both. A system's own stand in its cards.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit.errors import UsageError
from edgevit.tasks.preprocessing import (
    MOST_FRAMES,
    MOST_PIXELS,
    Channels,
    Fit,
    Preprocessing,
    Resize,
)

# ImageNet's statistics, one half, and SlowFast's 0.45 and 0.225, all on 0..255.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HALF = (127.5, 127.5, 127.5)
VIDEO_MEAN, VIDEO_STD = (114.75, 114.75, 114.75), (57.375, 57.375, 57.375)


@dataclass(frozen=True, slots=True)
class Preparation:
    """A `Preprocessing` without its size, and its source."""

    source: str
    mean: Channels = MEAN
    std: Channels = STD
    fit: Fit = "stretch"
    resize: Resize = "bilinear"
    crop: float = 1.0
    whole_from: int | None = None  # px: inputs this large are not cropped
    stride: int | None = None  # of clips; None: of pictures

    def preprocessing(
        self, name: str, input_size: tuple[int, ...], fit: Fit | None = None
    ) -> Preprocessing:
        """The preprocessing for an input of [frames,] height and width; `fit` replaces its own, and
        `name` is for error messages.

        Raises `UsageError` if the kind of input (pictures, clips, boxes) does not match, or if the
        input is too large for a bundle.
        """
        *frames, height, width = input_size
        if bool(frames) != (self.stride is not None):
            kinds = ("clips", "pictures") if self.stride is not None else ("pictures", "clips")
            raise UsageError(
                f"Preprocessing {name} is for {kinds[0]}, and this network takes {kinds[1]}.",
                next="leave --preprocessing out",
            )
        if fit is not None and "box" in (fit, self.fit) and fit != self.fit:
            raise UsageError(
                f"Preprocessing {name} has fit {self.fit}, which cannot be changed to {fit}.",
                next="leave --fit out",
            )
        if math.prod(input_size) > MOST_PIXELS or max(frames, default=0) > MOST_FRAMES:
            raise UsageError(
                f"An input of {'x'.join(map(str, input_size))} is too large: it has at most"
                f" {MOST_FRAMES} frames, and {MOST_PIXELS} pixels in all of them.",
                next="a smaller --input-size",
            )
        chosen = fit or self.fit
        whole = self.whole_from is not None and min(height, width) >= self.whole_from
        return Preprocessing(
            (height, width),
            self.mean,
            self.std,
            chosen,
            self.resize,
            crop=self.crop if chosen == "crop" and not whole else 1.0,
            frames=frames[0] if frames else 0,
            stride=self.stride if self.stride is not None else 1,
        )


SHARED: Mapping[str, Preparation] = MappingProxyType(
    {
        "segmentation": Preparation(
            "mmseg's img_norm_cfg in the official segmentation configurations",
        ),
        "detection": Preparation(
            "detectron2 ImageList.from_tensors and mmdet's Pad: proportions kept, padded",
            fit="pad",
        ),
        "drawn": Preparation("edgevit's own weights, trained on edgevit.data.scenes"),
        "drawn-video": Preparation(
            "edgevit's own weights, trained on edgevit.data.scenes' clips",
            VIDEO_MEAN,
            VIDEO_STD,
            stride=1,
        ),
    }
)
