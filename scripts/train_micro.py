"""Train a micro network on drawn scenes: its demo weights and their card.

Each network has a row in scripts/micro/recipes.py. All start at random but the video network, which
starts from the shipped weights of mvitv2-micro. Progress is kept in OUT/NAME/last.pth
after every hundred steps; the same command resumes.

    python scripts/train_micro.py vit-micro -o runs/micro
"""

import argparse
import copy
import functools
import json
import math
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from edgevit.data import scenes
from edgevit.networks.card import ModelCard
from edgevit.networks.mvitv2 import cards as mvitv2_cards
from edgevit.networks.mvitv2 import checkpoint as layout
from edgevit.networks.mvitv2 import network as mvitv2
from edgevit.networks.parts.layers import Network
from edgevit.networks.t2t_vit import cards as t2t_vit_cards
from edgevit.networks.t2t_vit import network as t2t_vit
from edgevit.networks.vit import cards as vit_cards
from edgevit.networks.vit import network as vit
from edgevit.networks.vit_adapter import cards as vit_adapter_cards
from edgevit.networks.vit_adapter import network as vit_adapter
from edgevit.networks.vitpose import cards as vitpose_cards
from edgevit.networks.vitpose import network as vitpose
from edgevit.networks.zoo import preprocessing_of
from edgevit.tasks.pose.skeletons import COCO
from scripts.micro.losses import DenseHead, loss_of
from scripts.micro.pools import batch, pool
from scripts.micro.recipes import RECIPES, Recipe, Stage
from scripts.micro.scores import POSE_SIDE, score

# What the bundles will do: edgevit.networks.preparation.
PREPROCESSING = {
    "segmentation": "drawn",
    "pose": "pose",
    "classification": "drawn",
    "video": "drawn-video",
}
HELD_OUT = {
    "segmentation": scenes.SEGMENTATION_SEEDS,
    "pose": scenes.POSE_SEEDS,
    "classification": scenes.CLASSIFICATION_SEEDS,
    "video": scenes.VIDEO_SEEDS,
}
EVALUATE = 1000  # steps between two looks at the validation set
VALIDATION = scenes.TRAIN_SEEDS[-200:]  # training seeds that no pool reaches
TABLES = (mvitv2_cards, t2t_vit_cards, vit_cards, vit_adapter_cards, vitpose_cards)
CARDS: dict[str, ModelCard] = {
    card.name: card for table in TABLES for card in table.CARDS if card.name in RECIPES
}


def build(card: ModelCard, size: tuple[int, ...]) -> Network:
    """The network of a card at an input size, with every output, at its random start.

    A smaller size has the same parameters: position tables are those of the card's size.
    """
    match card.architecture:
        case "vit":
            plain = replace(vit.CONFIGS["micro"], num_classes=9)
            plain = replace(plain, input_size=(size[0], size[1]))
            return vit.build(card, plain, all_outputs=True)
        case "t2t_vit":
            return t2t_vit.build(card, t2t_vit.CONFIGS["micro"], all_outputs=True)
        case "mvitv2":
            config = replace(mvitv2.config_of(card), input_size=size, table_size=card.input_size)
            return mvitv2.build(card, config, all_outputs=True)
        case "vit_adapter":
            return vit_adapter.build(card, vit_adapter.CONFIGS["micro"], all_outputs=True)
        case _:
            return vitpose.build(card, vitpose.CONFIGS["micro"], all_outputs=True)


def dense_maps(card: ModelCard) -> dict[str, tuple[int, int]]:
    """The maps or tokens from which masks are drawn, their channels and their stride in px."""
    match card.architecture:
        case "vit":
            config = vit.CONFIGS["micro"]
            return {"tokens": (config.dim, config.patch)}
        case "t2t_vit":
            return {"tokens": (t2t_vit.CONFIGS["micro"].dim, 16), "map8": (64, 8)}
        case "mvitv2":
            dim = mvitv2.config_of(card).dim
            return {"stage2": (2 * dim, 8), "stage3": (4 * dim, 16), "tokens": (8 * dim, 32)}
        case _:
            return {}


@torch.no_grad()
def start_positions(network: Network) -> None:
    """Let a learned position table start as waves along rows and columns, as large as the patches
    are: from the official start, a deviation of 0.02, it takes a short schedule long to find out
    where things are (the table: "An Empirical Study of Training Self-Supervised Vision
    Transformers", Chen et al., ICCV 2021, section 4.2).
    """
    if not isinstance(network, vit.VisionTransformer):
        return
    rows, columns = network.config.grid
    quarter = network.config.dim // 4
    angles = 1 / 100 ** (torch.arange(quarter) / quarter)
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    waves = [f(place.reshape(-1, 1) * angles) for place in (y, x) for f in (torch.sin, torch.cos)]
    network.pos_embed[:, network.config.prefix :] = torch.cat(waves, dim=1) / 2


def keep_features_exact(network: Network) -> None:
    """Let a performer's random features be float32 under autocast: their exponents must not be
    rounded to the three digits of bfloat16.
    """
    for module in network.modules():
        if isinstance(module, t2t_vit.FeatureAttend):
            exact = functools.partial(_exact, module.forward)
            module.forward = exact  # type: ignore[method-assign]


def _exact(forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return forward(*(x.float() for x in inputs))


def rate(stage: Stage, step: int) -> float:
    """The learning rate of a stage's step."""
    if step < stage.warmup:
        return stage.lr * (step + 1) / stage.warmup
    share = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return stage.lr_end + (stage.lr - stage.lr_end) * (1 + math.cos(math.pi * share)) / 2


@torch.no_grad()
def update(average: nn.Module, model: nn.Module, keep: float, step: int) -> None:
    """Move the average towards the model, faster at the start; batch statistics too."""
    keep = min(keep, (1 + step) / (10 + step))
    for slow, fast in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if slow.dtype.is_floating_point:
            slow.lerp_(fast, 1 - keep)
        else:
            slow.copy_(fast)


def optimizers_of(model: nn.Module, dense: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """AdamW, and before it Muon for the matrices of the blocks where the recipe asks for it.

    Weights decay; biases, norms, tables and tokens do not. Muon's rate is matched to AdamW's, so
    that one schedule serves both (Liu et al., "Muon is Scalable for LLM Training", section 2.2).
    """
    turned: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.rpartition(".")[2].startswith(("pos_embed", "rel_pos", "cls_token")):
            kept.append(parameter)
        elif recipe.muon and parameter.ndim == 2 and not name.startswith("head"):
            turned.append(parameter)
        else:
            (kept if parameter.ndim < 2 else decayed).append(parameter)
    for parameter in dense.parameters():
        (kept if parameter.ndim < 2 else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    optimizers: list[Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.98))]
    if turned:
        decay = recipe.weight_decay
        muon = torch.optim.Muon(turned, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        optimizers.insert(0, muon)
    return optimizers


def steps_of(recipe: Recipe) -> Iterator[tuple[Stage, int, int]]:
    """Every stage and step in order, and the samples that the stages before have looked at."""
    first = 0
    for stage in recipe.stages:
        for step in range(stage.steps):
            yield stage, step, first
        first += stage.samples


def shrunk(size: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """An input size with height and width divided; frames stay."""
    return (*size[:-2], size[-2] // factor, size[-1] // factor)


@dataclass(frozen=True, slots=True)
class Kept:
    """What a resumed run goes on with."""

    model: nn.Module
    average: nn.Module
    dense: nn.Module
    optimizers: tuple[Optimizer, ...]

    def save(self, file: Path, step: int) -> None:
        """Write the state after so many steps; a run that is cut off leaves the file before."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "dense": self.dense.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": step,
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def load(self, file: Path) -> int:
        """Read what `save` wrote; returns the steps done."""
        state = torch.load(file, weights_only=True)
        for name in ("model", "average", "dense"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return int(state["step"])


def train(card: ModelCard, out: Path, pools: Path, start: Path | None) -> Network:
    """Train or resume; returns the averaged network in eval mode, at the card's size."""
    recipe, video = RECIPES[card.name], card.task == "video"
    spec = preprocessing_of(PREPROCESSING[card.task], card.input_size)
    torch.manual_seed(0)
    data = pool(recipe.task, card.input_size, recipe.pool, pools)
    model = build(card, card.input_size)
    start_positions(model)
    if start is not None:
        inherit(model, card, start)
    if not video:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    # Networks for smaller pictures, which lend their graph alone: the parameters are `model`'s.
    smaller = {
        stage.shrink: build(card, shrunk(card.input_size, stage.shrink)).train()
        for stage in recipe.stages
        if stage.shrink > 1
    }
    average = copy.deepcopy(model)
    if recipe.bf16:
        keep_features_exact(model)
    dense = DenseHead(dense_maps(card) if recipe.dense else {})
    optimizers = optimizers_of(model, dense, recipe)
    kept, last = Kept(model, average, dense, tuple(optimizers)), out / "last.pth"
    done = kept.load(last) if last.exists() else 0
    # Not before: loading replaces the groups.
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [parameter for group in groups for parameter in group["params"]]
    running, clock = 0.0, time.monotonic()
    total = sum(stage.steps for stage in recipe.stages)
    for index, (stage, step, first) in enumerate(steps_of(recipe)):
        if index < done:
            continue
        for group in groups:
            group["lr"] = rate(stage, step)
        model.train()
        samples = batch(data, first + step * stage.batch, stage, spec)
        images = samples.images
        if not video:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bf16):
            if stage.shrink > 1:
                outputs = functional_call(
                    smaller[stage.shrink], dict(model.named_parameters()), (images,)
                )
            else:
                outputs = model(images)
        loss = loss_of(outputs, samples, recipe)
        running += loss.item() / 100
        if recipe.dense and samples.masks is not None:
            loss = loss + recipe.dense * dense(outputs, samples.masks)
        model.zero_grad(set_to_none=True)
        dense.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
        update(average, model, recipe.average, index)
        if (index + 1) % 100 == 0 or index + 1 == total:
            line = f"{time.strftime('%H:%M:%S')} {card.name} step {index + 1} loss {running:.4f}"
            speed = 100 * stage.batch / (time.monotonic() - clock)
            line += f" all {loss.item():.3f}, {speed:.0f} samples/s"
            if (index + 1) % EVALUATE == 0 or index + 1 == total:
                found = score(average.eval(), recipe.task, VALIDATION, spec)
                line += f" {found.metric} {found.value:.4f}"
            print(line, flush=True)
            running, clock = 0.0, time.monotonic()
            kept.save(last, index + 1)
    return average.eval()


def inherit(model: Network, card: ModelCard, start: Path) -> None:
    """Start a video network from a picture network's shipped weights: each picture kernel becomes
    the middle frame of the clip's (paper of MViTv2, section 4; edgevit.networks.mvitv2.checkpoint).
    """
    tensors = {key: value.float() for key, value in load_file(start).items()}
    config = mvitv2.config_of(card)
    adapted = layout.adapt(tensors, card, config, {"inflate": "center"})
    missing, unexpected = model.load_state_dict(dict(adapted.tensors), strict=False)
    if unexpected or not all(key.startswith(("head.", "cls_token")) for key in missing):
        raise SystemExit(f"{start} does not fit {card.name}: {[*missing, *unexpected]}")


def ship(card: ModelCard, network: Network, weights: Path, note: str) -> None:
    """Write fp16 safetensors and the card; its scores are of the file as shipped."""
    recipe = RECIPES[card.name]
    spec = preprocessing_of(PREPROCESSING[card.task], card.input_size)
    half = {
        k: v.half().contiguous() for k, v in network.state_dict().items() if v.is_floating_point()
    }
    save_file(half, weights)
    network.load_state_dict({k: v.float() for k, v in half.items()}, strict=False)
    seeds = HELD_OUT[recipe.task]
    found = score(network.eval(), recipe.task, seeds, spec)
    metric, _, detail = found.metric.partition(" ")
    held_out: dict[str, object] = {
        "seeds": [seeds.start, seeds.stop],
        "size": [POSE_SIDE, POSE_SIDE] if card.task == "pose" else list(card.input_size),
        "samples": found.samples,
        "chance": round(1 / len(labels(card)) if metric == "top-1" else found.blind, 4),
        "shuffled": round(found.shuffled, 4),
        "blind": round(found.blind, 4),
        "blind_is": found.blind_is,
    }
    key = {"mIoU": "miou", "top-1": "top1", "PCK": "pck"}[metric]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    written: dict[str, object] = {
        "model": card.name,
        "made_by": "scripts/train_micro.py",
        "commit": commit,
        "data": "edgevit.data.scenes, drawn; no photograph was used",
        "labels": labels(card),
        "input_size": list(card.input_size),
        "preprocessing": spec.to_json(),
        "pool": f"{recipe.pool} {'clips' if card.task == 'video' else 'scenes'}",
        "optimizer": "Muon for the blocks' matrices, AdamW" if recipe.muon else "AdamW",
        "start": "the weights of mvitv2-micro, inflated" if card.task == "video" else "random",
        "stages": [
            f"{s.steps} steps of {s.batch}: {s.samples} samples at"
            f" {'x'.join(map(str, shrunk(card.input_size, s.shrink)))},"
            f" lr {s.lr:g} to {s.lr_end:g}"
            for s in recipe.stages
        ],
        "held_out": held_out,
        key: round(found.value, 4),
        f"{key}_by_part": {name: round(value, 4) for name, value in found.parts.items()},
    }
    if recipe.dense:
        written["auxiliary"] = "masks drawn from tokens in training, by a head that is not here"
    if detail:
        written["counts_as_found"] = detail
    if note:
        written["note"] = note
    weights.with_suffix(".json").write_text(json.dumps(written, indent=2) + "\n")
    print(json.dumps(written, indent=2))


def labels(card: ModelCard) -> list[str]:
    """The names of a card's outputs."""
    match card.task:
        case "segmentation":
            return list(scenes.CLASSES)
        case "classification":
            return list(scenes.CLASSES[1:])
        case "video":
            return list(scenes.MOTIONS)
        case _:
            return list(COCO.names)


def main() -> None:
    """Parse, train, ship."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument(
        "-o", "--output-dir", type=Path, required=True, help="pools and progress are kept here"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights-dir", type=Path, default=Path("edgevit/weights"))
    parser.add_argument("--note", default="", help="what the card is to say of how the run went")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    card = CARDS[arguments.name]
    out: Path = arguments.output_dir / card.name
    out.mkdir(parents=True, exist_ok=True)
    picture = arguments.weights_dir / "mvitv2-micro.safetensors"
    start = picture if card.task == "video" else None
    network = train(card, out, arguments.output_dir / "pools", start)
    ship(card, network, arguments.weights_dir / f"{card.name}.safetensors", arguments.note)


if __name__ == "__main__":
    main()
