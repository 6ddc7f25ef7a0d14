"""Train topformer-t on drawn scenes: the demo weights and their card.

The official recipe scaled down (specs: AdamW, betas 0.9/0.999, weight decay 0.01, linear warm-up,
polynomial decay of power 1, head learning rate x10, cross-entropy, no auxiliary head), from a
random start, with a moving average of the weights because the schedule is short. Progress is kept
in OUT/last.pth after every hundred steps; the same command resumes.

    python scripts/train_topformer.py -o runs/topformer-t
"""

import argparse
import copy
import json
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from edgevit.data import scenes
from edgevit.networks.topformer import network as topformer
from edgevit.networks.zoo import model_card

MEAN = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps at one picture size; learning rates go linearly from `lr` to `lr_end`."""

    size: int
    batch: int
    steps: int
    lr: float
    lr_end: float
    warmup: int = 0


# Small pictures first: the shapes are learned at a third of the cost, then sharpened at the size
# that ships.
STAGES = (
    Stage(size=256, batch=16, steps=4000, lr=2.0e-3, lr_end=6e-4, warmup=100),
    Stage(size=448, batch=8, steps=300, lr=6e-4, lr_end=1e-5),
)
HEAD_LR = 2.0  # the official x10 is for a pretrained backbone
EMA = 0.995


class Drawn(Dataset[tuple[Tensor, Tensor]]):
    """Scenes by seed, each drawn once: the training set has no end and no repeats."""

    def __init__(self, first: int, count: int, size: int) -> None:
        self.first, self.count, self.size = first, count, size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = scenes.scene(scenes.TRAIN_SEEDS[self.first + index], self.size, self.size)
        return torch.from_numpy(drawn.image.copy()), torch.from_numpy(drawn.mask.copy())


def normalize(images: Tensor) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W], ImageNet mean and deviation."""
    x = (images.permute(0, 3, 1, 2).float() - MEAN) / STD
    return x.contiguous(memory_format=torch.channels_last)


def loss_of(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy at half resolution: a quarter of the cost of full, and borders still count."""
    target = masks[:, ::2, ::2].long()
    size = (target.shape[-2], target.shape[-1])
    return F.cross_entropy(F.interpolate(logits, size, mode="bilinear"), target)


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, step: int) -> None:
    """Move the average towards the model, faster at the start."""
    keep = min(EMA, (1 + step) / (10 + step))
    for slow, fast in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)


@torch.no_grad()
def evaluate(model: nn.Module, seeds: range, size: int) -> tuple[float, dict[str, float]]:
    """Mean IoU and per-class IoU of the full-resolution mask."""
    n = len(scenes.CLASSES)
    total = np.zeros((n, n), np.int64)
    model.eval()
    for seed in seeds:
        drawn = scenes.scene(seed, size, size)
        logits = model(normalize(torch.from_numpy(drawn.image.copy())[None]))
        mask = F.interpolate(logits, (size, size), mode="bilinear").argmax(1)[0].numpy()
        flat = n * drawn.mask.astype(np.int64).ravel() + mask.ravel()
        total += np.bincount(flat, minlength=n * n).reshape(n, n)
    hit = np.diag(total).astype(np.float64)
    iou = hit / np.maximum(total.sum(0) + total.sum(1) - hit, 1)
    return float(iou.mean()), dict(zip(scenes.CLASSES, iou.round(4).tolist(), strict=True))


def train(out: Path, stages: tuple[Stage, ...], threads: int) -> nn.Module:
    """Train or resume; returns the averaged network."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = replace(topformer.CONFIGS["t"], num_classes=len(scenes.CLASSES))
    model = topformer.build(model_card("topformer-t"), config, all_outputs=False)
    model = model.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model)
    head = list(model.get_submodule("decode_head").parameters())
    body = list(model.get_submodule("backbone").parameters())
    optimizer = torch.optim.AdamW([{"params": body}, {"params": head}], lr=1.0, weight_decay=0.01)
    done, drawn, last = 0, 0, out / "last.pth"
    if last.exists():
        state = torch.load(last, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    start = 0
    with Progress(*columns, TimeRemainingColumn()) as progress:
        for stage in stages:
            skip = min(max(done - start, 0), stage.steps)
            remaining = stage.steps - skip
            data = Drawn(drawn + skip * stage.batch, remaining * stage.batch, stage.size)
            task = progress.add_task(f"{stage.size} px", total=stage.steps, completed=skip)
            for offset, (images, masks) in enumerate(
                DataLoader(data, stage.batch, num_workers=1) if remaining else ()
            ):
                step = skip + offset
                share = step / stage.steps
                lr = stage.lr + (stage.lr_end - stage.lr) * share
                lr *= min(1.0, (step + 1) / stage.warmup) if stage.warmup else 1.0
                for group, scale in zip(optimizer.param_groups, (1.0, HEAD_LR), strict=True):
                    group["lr"] = lr * scale
                model.train()
                loss = loss_of(model(normalize(images)), masks)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                update(average, model, start + step)
                progress.update(task, advance=1, description=f"{stage.size} px loss {loss:.3f}")
                if (step + 1) % 100 == 0 or step + 1 == stage.steps:
                    now = time.strftime("%H:%M:%S")
                    line = f"{now} {stage.size} px step {step + 1} loss {loss:.4f}"
                    if (step + 1) % 300 == 0 or step + 1 == stage.steps:
                        # The last training seeds, never drawn by a schedule this short, are the
                        # validation set.
                        score, _ = evaluate(average, scenes.TRAIN_SEEDS[-24:], stage.size)
                        line += f" mIoU {score:.4f}"
                    print(line, flush=True)
                    state = {
                        "model": model.state_dict(),
                        "average": average.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": start + step + 1,
                    }
                    torch.save(state, last.with_suffix(".part"))
                    last.with_suffix(".part").replace(last)
            start += stage.steps
            drawn += stage.steps * stage.batch
    return average.eval()


def ship(model: nn.Module, stages: tuple[Stage, ...], weights: Path) -> None:
    """Write fp16 safetensors and the card; scores are of the file as shipped, on the held-out
    seeds.
    """
    half = {
        k: v.half().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()
    }
    save_file(half, weights)
    model.load_state_dict({k: v.float() for k, v in half.items()}, strict=False)
    score, per_class = evaluate(model, scenes.HELD_OUT_SEEDS, 448)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    card = {
        "model": "topformer-t",
        "made_by": "scripts/train_topformer.py",
        "commit": commit,
        "data": "edgevit.data.scenes, drawn; no photograph was used",
        "labels": list(scenes.CLASSES),
        "input_size": [448, 448],
        "stages": [f"{s.steps} steps of {s.batch} at {s.size} px" for s in stages],
        "held_out": {
            "scenes": len(scenes.HELD_OUT_SEEDS),
            "seeds": [scenes.HELD_OUT_SEEDS.start, scenes.HELD_OUT_SEEDS.stop],
            "size": [448, 448],
        },
        "miou": round(score, 4),
        "iou": per_class,
    }
    weights.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


def main() -> None:
    """Parse, train, ship."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o", "--output-dir", type=Path, required=True, help="progress is kept here"
    )
    parser.add_argument("--threads", type=int, default=2, help="of the network; one more draws")
    parser.add_argument(
        "--weights", type=Path, default=Path("edgevit/weights/topformer-t.safetensors")
    )
    arguments = parser.parse_args()
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    model = train(arguments.output_dir, STAGES, arguments.threads)
    ship(model, STAGES, arguments.weights)


if __name__ == "__main__":
    main()
