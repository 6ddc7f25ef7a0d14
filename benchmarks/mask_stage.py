"""The full-resolution mask outside the graph, one thread: upsample and argmax or `exact_mask`."""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from edgevit.tasks.pixels.mask import Labels, exact_mask
from edgevit.tasks.pixels.resize import bilinear

Logits = NDArray[np.float32]
Size = tuple[int, int]


def network_like(classes: int, side: int, regions: int, seed: int = 0) -> Logits:
    """Logits like a trained network's: a high plateau a region, smooth scores elsewhere, noise."""
    rng = np.random.default_rng(seed)
    centers, owner = rng.uniform(0, side, (regions, 2)), rng.integers(0, classes, regions)
    grid = np.moveaxis(np.mgrid[:side, :side], 0, -1)[..., None, :]
    distance = np.linalg.norm(grid - centers, axis=-1)  # [side, side, regions]
    logits = bilinear(rng.normal(0, 1.5, (classes, 8, 8)).astype(np.float32), (side, side))
    for region in range(regions):
        inside = np.delete(distance, region, -1).min(-1) - distance[..., region]
        height = 6 + np.clip(inside, -6, 6)  # crosses its neighbors with a slope, not a step
        logits[owner[region]] = np.maximum(logits[owner[region]], height)
    return (logits + rng.normal(0, 0.3, logits.shape)).astype(np.float32)


def torch_mask(logits: Logits, size: Size) -> NDArray[np.int64]:
    """What an app does with torch at hand."""
    upsampled = F.interpolate(torch.from_numpy(logits)[None], size=size, mode="bilinear")
    mask: NDArray[np.int64] = upsampled.argmax(1)[0].numpy()
    return mask


def numpy_mask(logits: Logits, size: Size) -> NDArray[np.intp]:
    """What an app does with numpy at hand."""
    mask: NDArray[np.intp] = bilinear(logits, size).argmax(0)
    return mask


WAYS: dict[str, Callable[[Logits, Size], NDArray[np.integer] | Labels]] = {
    "numpy upsample + argmax": numpy_mask,
    "torch upsample + argmax": torch_mask,
    "exact_mask": exact_mask,
}


def measure(logits: Logits, size: Size, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each way, the ways interleaved, after one warm-up of each."""
    samples: dict[str, list[float]] = {name: [] for name in WAYS}
    for repeat in range(repeats + 1):
        for name, way in WAYS.items():
            start = time.perf_counter()
            way(logits, size)
            if repeat:
                samples[name].append(1e3 * (time.perf_counter() - start))
    return samples


def main() -> None:
    """Check that the masks are equal, then print medians, or all samples as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--side", type=int, default=56, help="of the square logits")
    parser.add_argument("--factor", type=int, default=8, help="upsampling")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", action="store_true", help="print raw samples")
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = (options.side * options.factor,) * 2
    shape = (options.classes, options.side, options.side)
    maps = {
        "network-like, 12 regions": network_like(options.classes, options.side, 12),
        "network-like, 80 regions": network_like(options.classes, options.side, 80),
        "random": np.random.default_rng(0).normal(0, 1, shape).astype(np.float32),
    }
    samples, agreement = {}, {}
    for kind, logits in maps.items():
        exact, plain, other = (way(logits, size) for way in (exact_mask, numpy_mask, torch_mask))
        if not np.array_equal(exact, plain):
            raise SystemExit(f"exact_mask differs from upsample + argmax on {kind} logits.")
        samples[kind] = measure(logits, size, options.repeats)
        agreement[kind] = float(np.mean(exact == other))
    if options.json:
        result = {"milliseconds": samples, "agreement_with_torch": agreement}
        print(json.dumps({"shape": shape, "size": size, **result}))
        return
    print(f"{shape} -> {size}, one thread, median ms of {options.repeats} interleaved runs")
    print(
        f"{'logits':<26}" + "".join(f"{name:>26}" for name in WAYS) + f"{'agrees with torch':>20}"
    )
    for kind in maps:
        medians = "".join(f"{statistics.median(samples[kind][name]):>26.2f}" for name in WAYS)
        print(f"{kind:<26}{medians}{f'{100 * agreement[kind]:.4f} %':>20}")


if __name__ == "__main__":
    main()
