"""Feature maps shown: their shape, how large they are, and their first principal components."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit.tasks.pixels.resize import FloatArray, Picture

COMPONENTS = 3  # red, green, blue
CUT = 1.0  # percent of the values at either end that a picture does not tell apart
GRAY = 128  # of a component that does not vary


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """One output of a backbone."""

    name: str
    values: FloatArray  # [C, h, w]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.values.shape
        return channels, height, width

    @property
    def mean_norm(self) -> float:
        """Mean over places of the Euclidean length of the channels."""
        return float(np.sqrt((self.values.astype(np.float64) ** 2).sum(axis=0)).mean())

    def to_json(self) -> dict[str, object]:
        """`shape` [C, h, w] and `mean_norm`."""
        return {"shape": list(self.shape), "mean_norm": round(self.mean_norm, 6)}


def feature_map(name: str, output: FloatArray) -> FeatureMap:
    """A network's output [1, C, h, w] as a map; raises `UsageError` on another shape."""
    if output.ndim != 4 or len(output) != 1 or not output.size:
        raise UsageError(f"A feature map is [1, C, h, w]; {name} is {output.shape}.")
    return FeatureMap(name, output[0])


def pca_picture(values: FloatArray) -> Picture:
    """The three first principal components of a map [C, h, w] as red, green and blue, uint8.

    Each component runs from its 1st to its 99th percentile. Its sign is such that the channel which
    weighs most does so positively (of equals the first), so that the same map always has the same
    picture. Components that a map does not have, or that do not vary, are gray.
    """
    channels, height, width = values.shape
    points = values.reshape(channels, -1).T.astype(np.float64)
    points = points - points.mean(axis=0)
    spread, axes = np.linalg.eigh(points.T @ points)  # ascending
    picture = np.full((height * width, COMPONENTS), GRAY, np.uint8)
    for component in range(min(COMPONENTS, channels)):
        axis = axes[:, -1 - component]
        if spread[-1 - component] <= spread[-1] * 1e-9 or spread[-1] <= 0:
            break
        sign = 1.0 if axis[np.abs(axis).argmax()] > 0 else -1.0
        picture[:, component] = _stretched(points @ (sign * axis))
    return picture.reshape(height, width, COMPONENTS)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = np.percentile(values, (CUT, 100 - CUT))
    if high <= low:
        return np.full(values.shape, GRAY, np.uint8)
    shares = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(np.rint(shares * 255), np.uint8)
