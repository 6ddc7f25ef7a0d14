"""What the C core takes on an ARM core: counted under emulation, estimated, never timed.

    python benchmarks/core_on_arm.py --core cortex-a77

- input: a 1280x720 YUV frame, drawn, to 448x448 float32 NCHW
- mask: 150 classes at 56x56 to 448x448, on `scene150` (the demo network's logits on held-out drawn
  scenes, placed into 150 channels, the other channels 4 to 8 below the winner) and on independent
  noise, the worst case; beside it the plain way, upsample then argmax, in the same C
- overlay: 150 colors over a 448x448 picture

Each after one warm run, on one thread. Results go to benchmarks/results/core_on_arm.json. Needs
`edgevit device setup emulated` and LLVM 19.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.rounds import ROOT, commit
from benchmarks.scene150 import (
    CLASSES,
    MEAN,
    SCENES,
    SIDE,
    STD,
    STRIDE,
    Logits,
    scene150,
    scene_logits,
)
from edgevit.data import scenes
from edgevit.tasks.pixels.frame import upright_picture, yuv_frame
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.pixels.tint import tint
from edgevit.tasks.preprocessing import Preprocessing, normalized
from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.estimate.counts import read_counts
from edgevit_runtimes.estimate.latency import estimate
from edgevit_runtimes.setup.emulated import Emulated, emulator_version, require_emulated

RECORDS = ROOT / "benchmarks" / "results" / "core_on_arm.json"
FRAME = (720, 1280)


def count(environment: Emulated, core: Core, folder: Path, *words: str) -> dict[str, Any]:
    """Run `edgevit-core` twice, count the second run, and estimate it."""
    command = environment.command(
        core, environment.path / "bin" / "edgevit-core", *words, "repeat=2"
    )
    sizes = f"{core.level1_kib}:{core.level2_kib}:{core.level3_kib}"
    place = command.index("-cpu")
    command[place:place] = ["-plugin", f"{environment.plugin},out=counts,caches={sizes}"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    counts = read_counts(folder / "counts")
    price = estimate(counts, core)
    interval = price.interval_ms
    assert interval is not None
    return {
        "instructions": counts.instructions,
        "compute_ms": round(price.compute_ms, 4),
        "interval_ms": [round(value, 4) for value in interval],
        "tool": price.tool,
    }


def measure(core: Core, side: int = SIDE) -> dict[str, Any]:
    """Every figure for pictures of this side, each result compared with numpy's first."""
    environment = require_emulated()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        name = f"input 1280x720 YUV to {side}x{side} float32"
        rows[name] = _input(environment, core, folder, side)
        coarse = side // STRIDE
        shape = (f"classes={CLASSES}", f"height={coarse}", f"width={coarse}")
        shape += (f"mask_height={side}", f"mask_width={side}", "in=logits", "out=mask")
        each: dict[str, list[dict[str, Any]]] = {"nchw": [], "nhwc": []}
        for seed, logits in enumerate(scene_logits(side)):
            for layout, values in _laid(scene150(logits, seed)).items():
                values.tofile(folder / "logits")
                each[layout].append(
                    count(environment, core, folder, "mask", *shape, f"layout={layout}")
                )
                _same(folder / "mask", exact_mask(scene150(logits, seed), (side, side)))
        for layout, counted in each.items():
            rows[f"exact mask, scene150, {layout}, worst of {SCENES}"] = max(
                counted, key=lambda row: row["compute_ms"]
            )
        noise = np.random.default_rng(0).normal(0, 3, (CLASSES, coarse, coarse)).astype(np.float32)
        for layout, values in _laid(noise).items():
            values.tofile(folder / "logits")
            rows[f"exact mask, noise, {layout}"] = count(
                environment, core, folder, "mask", *shape, f"layout={layout}"
            )
            _same(folder / "mask", exact_mask(noise, (side, side)))
            rows[f"plain mask, {layout}"] = count(
                environment, core, folder, "plain-mask", *shape, f"layout={layout}"
            )
            _same(folder / "mask", exact_mask(noise, (side, side)))
        rows[f"overlay {side}x{side} over a picture"] = _overlay(environment, core, folder, side)
    return rows


def _laid(logits: Logits) -> dict[str, Logits]:
    return {"nchw": logits, "nhwc": np.ascontiguousarray(logits.transpose(1, 2, 0))}


def _input(environment: Emulated, core: Core, folder: Path, side: int) -> dict[str, Any]:
    frame = yuv_frame(scenes.scene(scenes.HELD_OUT_SEEDS[0], *FRAME).image)
    luma, u, v = frame.planes
    luma.tofile(folder / "frame")
    with (folder / "frame").open("ab") as stream:
        stream.write(np.stack((u, v), -1).tobytes())
    size, half = luma.size, u.size * 2 - 1
    row = count(
        environment, core, folder, "input", "in=frame", "out=input", "colors=yuv",
        f"frame_height={FRAME[0]}", f"frame_width={FRAME[1]}", f"height={side}", f"width={side}",
        f"plane0=0,{size},{FRAME[1]},1", f"plane1={size},{half},{FRAME[1]},2",
        f"plane2={size + 1},{half},{FRAME[1]},2",
        "mean=" + ",".join(map(str, MEAN)), "std=" + ",".join(map(str, STD)),
    )  # fmt: skip
    spec = Preprocessing(size=(side, side), mean=MEAN, std=STD)
    _same(folder / "input", normalized(upright_picture(frame, (side, side)), spec))
    return row


def _overlay(environment: Emulated, core: Core, folder: Path, side: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, CLASSES, (side, side), np.uint8)  # no two neighbors alike: the worst
    palette = rng.integers(0, 256, (CLASSES, 4), np.uint8)
    picture = rng.integers(0, 256, (side, side, 4), np.uint8)
    for name, array in (("mask", mask), ("palette", palette), ("picture", picture)):
        array.tofile(folder / name)
    row = count(
        environment, core, folder, "overlay", "in=mask", "palette=palette", "picture=picture",
        "out=drawn", f"width={side}", f"height={side}",
    )  # fmt: skip
    _same(folder / "drawn", tint(mask, palette, picture))
    return row


def _same(path: Path, expected: NDArray[Any]) -> None:
    if path.read_bytes() != np.ascontiguousarray(expected).tobytes():
        raise SystemExit(f"{path.name} is not what numpy computes.")


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", choices=list(CORES), default="cortex-a77")
    core = CORES[parser.parse_args().core]
    rows = measure(core)
    records = {
        "what": "counted under emulation and estimated, not measured; one thread, one warm run",
        "core": core.name,
        "clock_ghz": core.clock_ghz,
        "emulator": emulator_version(),
        "commit": commit(),
        "rows": rows,
    }
    RECORDS.write_text(json.dumps(records, indent=1) + "\n")
    for name, row in rows.items():
        low, high = row["interval_ms"]
        print(f"{name}: {row['instructions'] / 1e6:.2f} M, {low:.2f} to {high:.2f} ms")


if __name__ == "__main__":
    main()
