"""How each micro network is trained: one literal row a network."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Task = Literal["classification", "pose", "segmentation", "video"]


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps of one batch size; the learning rate is warmed up linearly from nothing to `lr`,
    then falls to `lr_end` along a cosine.
    """

    batch: int
    steps: int
    lr: float
    lr_end: float
    warmup: int = 0
    shrink: int = 1  # pictures are averaged over so many pixels a side: cheaper first stages

    @property
    def samples(self) -> int:
        """Pictures, people or clips that the stage looks at."""
        return self.batch * self.steps


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `scripts/train_micro.py` does for one network."""

    task: Task
    pool: int  # scenes or clips drawn once and gone through again and again, mirrored and recolored
    stages: tuple[Stage, ...]
    weight_decay: float = 0.05
    smoothing: float = 0.0  # of the labels
    dense: float = 0.0  # weight of the masks that tokens draw; their head is thrown away
    muon: bool = False  # for the blocks' matrices: small transformers learn several times faster
    clip: float = 1.0  # largest norm of all gradients together
    average: float = 0.998  # of the weights; the average is what ships
    bf16: bool = False  # autocast, where it was measured faster than float32


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "vit-adapter-micro-upernet": Recipe(
            task="segmentation",
            pool=40_000,
            stages=(Stage(batch=16, steps=3000, lr=1.5e-3, lr_end=1e-5, warmup=100),),
            weight_decay=0.02,
            bf16=True,
        ),
        "vitpose-micro": Recipe(
            task="pose",
            pool=24_000,
            stages=(Stage(batch=64, steps=2500, lr=1.5e-3, lr_end=1e-5, warmup=300),),
            bf16=True,
        ),
        "vit-micro": Recipe(
            task="classification",
            pool=100_000,
            stages=(
                Stage(batch=32, steps=7000, lr=2e-3, lr_end=1e-5, warmup=100),
                Stage(batch=32, steps=3300, lr=1e-3, lr_end=1e-5, warmup=100),
            ),
            dense=1.0,
            muon=True,
        ),
        "t2t-vit-micro": Recipe(
            task="classification",
            pool=50_000,
            stages=(Stage(batch=32, steps=3600, lr=2e-3, lr_end=1e-5, warmup=100),),
            dense=1.0,
            muon=True,
            bf16=True,
        ),
        "mvitv2-micro": Recipe(
            task="classification",
            pool=40_000,
            stages=(
                Stage(batch=32, steps=2500, lr=2e-3, lr_end=1e-3, warmup=100, shrink=2),
                Stage(batch=32, steps=1600, lr=1e-3, lr_end=1e-5, warmup=50),
            ),
            dense=1.0,
            muon=True,
        ),
        # Short on purpose: trained longer, hardly a clip is wrong, and no loss would show.
        "mvitv2-micro-video": Recipe(
            task="video",
            pool=14_000,
            stages=(
                Stage(batch=32, steps=300, lr=1e-3, lr_end=5e-4, warmup=100, shrink=2),
                Stage(batch=32, steps=120, lr=5e-4, lr_end=1e-5, warmup=20),
            ),
            muon=True,
        ),
    }
)
