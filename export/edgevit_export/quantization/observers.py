"""How a static range is read from what flows through a tensor during calibration."""

from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e import HistogramObserver, MinMaxObserver, ObserverBase

from edgevit_export.scheme import Observer

SMALLEST_SCALE = 2.0**-20  # of a tensor that is constant, or nearly
PERCENTILE = 99.99  # of the values that keep their place, as TensorRT's and ONNX Runtime's default


class PercentileObserver(HistogramObserver):  # type: ignore[misc]  # torchao is untyped
    """The range that holds the middle 99.99 % of all values seen."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value to represent, from the running histogram."""
        share = self.histogram.cumsum(0) / self.histogram.sum()
        width = (self.max_val - self.min_val) / len(share)
        tail = (1 - PERCENTILE / 100) / 2
        first = int((share <= tail).sum())
        last = int((share < 1 - tail).sum())
        return self.min_val + width * first, self.min_val + width * (last + 1)


# mse: torchao searches the histogram for the range with the least squared error of rounding and
# clipping. All three keep a fixed amount of memory, however many samples pass.
KINDS: dict[Observer, type[Any]] = {
    "mse": HistogramObserver,
    "percentile": PercentileObserver,
    "minmax": MinMaxObserver,
}


def seen_range(observer: ObserverBase) -> tuple[float, float] | None:
    """Lowest and highest value that passed; None where nothing did."""
    low, high = observer.min_val, observer.max_val
    if not low.numel():
        return None
    if torch.isinf(low).any() and torch.isinf(high).any() and low.max() > high.min():
        return None  # the start values of an observer that was never asked
    return float(low.min()), float(high.max())
