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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rounds import ROOT, commit
from edgevit import create_model
from edgevit.data import scenes
from edgevit.tasks.pixels.frame import upright_picture, yuv_frame
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.pixels.tint import tint
from edgevit.tasks.preprocessing import Preprocessing, normalized
from edgevit.weights import demo_weights
from edgevit_runtimes.cores import CORES, Core
from edgevit_runtimes.estimate.counts import read_counts
from edgevit_runtimes.estimate.latency import estimate
from edgevit_runtimes.setup.emulated import Emulated, emulator_version, require_emulated

RECORDS = ROOT / "benchmarks" / "results" / "core_on_arm.json"
SIDE, COARSE, CLASSES, SCENES = 448, 56, 150, 20
FRAME = (720, 1280)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
Logits = NDArray[np.float32]


def scene150(logits: Logits, seed: int) -> Logits:
    """Logits of a few classes, [C, h, w], among 150: the others 4 to 8 below the winner.

    The few keep their values, in channels drawn by the seed; each other channel lies, at every
    pixel, a random amount from 4 to 8 below the largest of them.
    """
    rng = np.random.default_rng(seed)
    channels = rng.permutation(CLASSES)[: len(logits)]
    result = logits.max(0) - rng.uniform(4, 8, (CLASSES, *logits.shape[1:]))
    result[channels] = logits
    return result.astype(np.float32)


def scene_logits() -> Iterator[Logits]:
    """The demo network's logits [10, 56, 56] on held-out scenes."""
    demo = demo_weights("topformer-t")
    assert demo is not None
    network = create_model("topformer-t", demo.path, input_size=(SIDE, SIDE))
    spec = Preprocessing(size=(SIDE, SIDE), mean=MEAN, std=STD)
    for seed in scenes.HELD_OUT_SEEDS[:SCENES]:
        drawn = scenes.scene(seed, SIDE, SIDE)
        with torch.no_grad():
            yield network(torch.from_numpy(normalized(drawn.image, spec)))[0].numpy()


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


def measure(core: Core) -> dict[str, Any]:
    """Every figure, each result compared with numpy's first."""
    environment = require_emulated()
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows["input 1280x720 YUV to 448x448 float32"] = _input(environment, core, folder)
        shape = (f"classes={CLASSES}", f"height={COARSE}", f"width={COARSE}")
        shape += (f"mask_height={SIDE}", f"mask_width={SIDE}", "in=logits", "out=mask")
        each: dict[str, list[dict[str, Any]]] = {"nchw": [], "nhwc": []}
        for seed, logits in enumerate(scene_logits()):
            for layout, values in _laid(scene150(logits, seed)).items():
                values.tofile(folder / "logits")
                each[layout].append(
                    count(environment, core, folder, "mask", *shape, f"layout={layout}")
                )
                _same(folder / "mask", exact_mask(scene150(logits, seed), (SIDE, SIDE)))
        for layout, counted in each.items():
            rows[f"exact mask, scene150, {layout}, worst of {SCENES}"] = max(
                counted, key=lambda row: row["compute_ms"]
            )
        noise = np.random.default_rng(0).normal(0, 3, (CLASSES, COARSE, COARSE)).astype(np.float32)
        for layout, values in _laid(noise).items():
            values.tofile(folder / "logits")
            rows[f"exact mask, noise, {layout}"] = count(
                environment, core, folder, "mask", *shape, f"layout={layout}"
            )
            _same(folder / "mask", exact_mask(noise, (SIDE, SIDE)))
            rows[f"plain mask, {layout}"] = count(
                environment, core, folder, "plain-mask", *shape, f"layout={layout}"
            )
            _same(folder / "mask", exact_mask(noise, (SIDE, SIDE)))
        rows["overlay 448x448 over a picture"] = _overlay(environment, core, folder)
    return rows


def _laid(logits: Logits) -> dict[str, Logits]:
    return {"nchw": logits, "nhwc": np.ascontiguousarray(logits.transpose(1, 2, 0))}


def _input(environment: Emulated, core: Core, folder: Path) -> dict[str, Any]:
    frame = yuv_frame(scenes.scene(scenes.HELD_OUT_SEEDS[0], *FRAME).image)
    luma, u, v = frame.planes
    luma.tofile(folder / "frame")
    with (folder / "frame").open("ab") as stream:
        stream.write(np.stack((u, v), -1).tobytes())
    size, half = luma.size, u.size * 2 - 1
    row = count(
        environment, core, folder, "input", "in=frame", "out=input", "colors=yuv",
        f"frame_height={FRAME[0]}", f"frame_width={FRAME[1]}", f"height={SIDE}", f"width={SIDE}",
        f"plane0=0,{size},{FRAME[1]},1", f"plane1={size},{half},{FRAME[1]},2",
        f"plane2={size + 1},{half},{FRAME[1]},2",
        "mean=" + ",".join(map(str, MEAN)), "std=" + ",".join(map(str, STD)),
    )  # fmt: skip
    spec = Preprocessing(size=(SIDE, SIDE), mean=MEAN, std=STD)
    _same(folder / "input", normalized(upright_picture(frame, (SIDE, SIDE)), spec))
    return row


def _overlay(environment: Emulated, core: Core, folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, CLASSES, (SIDE, SIDE), np.uint8)  # no two neighbors alike: the worst
    palette = rng.integers(0, 256, (CLASSES, 4), np.uint8)
    picture = rng.integers(0, 256, (SIDE, SIDE, 4), np.uint8)
    for name, array in (("mask", mask), ("palette", palette), ("picture", picture)):
        array.tofile(folder / name)
    row = count(
        environment, core, folder, "overlay", "in=mask", "palette=palette", "picture=picture",
        "out=drawn", f"width={SIDE}", f"height={SIDE}",
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
