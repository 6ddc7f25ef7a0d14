"""Held-out mIoU of a bundle's files against torch: acceptance of the demo weights.

python benchmarks/demo_accuracy.py BUNDLE [--scenes 200] [--json FILE]
Every file segments the same held-out drawn scenes through `edgevit run`'s own code; torch runs the
network as it was trained, before any rewrite.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from edgevit import create_model, open_bundle
from edgevit.bundle.opened import Bundle
from edgevit.data import scenes
from edgevit.prediction.predictor import open_predictor
from edgevit.tasks.pixels.mask import exact_mask
from edgevit.tasks.preprocessing import preprocess
from edgevit.tasks.segmentation.score import confusion, mean_iou
from edgevit.weights import demo_weights

CLASSES = len(scenes.CLASSES)


def bundle_miou(bundle: Bundle, format_name: str, seeds: range) -> float:
    """Mean IoU of one file, its masks brought to the scene's size."""
    total = np.zeros((CLASSES, CLASSES), np.int64)
    with open_predictor(bundle, format_name) as predictor:
        for seed in track(seeds, format_name):
            drawn = scenes.scene(seed, *bundle.manifest.input_size)
            total += confusion(predictor.predict(drawn.image).mask, drawn.mask, CLASSES)
    return mean_iou(total)[0]


def torch_miou(bundle: Bundle, seeds: range) -> float:
    """Mean IoU of the training-time network."""
    demo = demo_weights(bundle.manifest.model)
    if demo is None or bundle.manifest.weights.source != demo.path.name:
        raise SystemExit("The bundle was not made with demo weights; there is nothing to compare.")
    size = bundle.manifest.input_size
    network = create_model(bundle.manifest.model, demo.path, input_size=size)
    total = np.zeros((CLASSES, CLASSES), np.int64)
    for seed in track(seeds, "torch"):
        drawn = scenes.scene(seed, *size)
        prepared = preprocess(drawn.image, bundle.manifest.preprocessing)
        with torch.no_grad():
            logits = network(torch.from_numpy(prepared.tensor))[0].numpy()
        total += confusion(exact_mask(logits, size), drawn.mask, CLASSES)
    return mean_iou(total)[0]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scenes", type=int, default=len(scenes.HELD_OUT_SEEDS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    bundle, seeds = open_bundle(arguments.bundle), scenes.HELD_OUT_SEEDS[: arguments.scenes]
    scores = {"torch": torch_miou(bundle, seeds)}
    for file in bundle.manifest.files:
        if file.verification.status == "executed":
            scores[file.format] = bundle_miou(bundle, file.format, seeds)
    for name, score in scores.items():
        print(f"{name:12} mIoU {score:.4f}  {score - scores['torch']:+.5f} to torch")
    if arguments.json:
        result = {"scenes": len(seeds), "weights": bundle.manifest.weights.sha256, "miou": scores}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
