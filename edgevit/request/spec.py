"""DeploySpec: everything that decides what a bundle holds, as one frozen value."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevit.errors import UsageError
from edgevit.networks.card import ModelCard
from edgevit.networks.zoo import model_card
from edgevit.request.targets import Target, narrowed, target_named
from edgevit_export.scheme import PRECISIONS, Observer

WORDS = (*PRECISIONS, "int8")  # int8 is the best int8 recipe that keeps its gate
OUTPUTS = ("logits", "mask")
FITS = ("stretch", "pad")


@dataclass(frozen=True, slots=True)
class DeploySpec:
    """One model, one size, one precision, one kind of output: one bundle.

    `weights` None takes the demo weights. `atol` replaces the relative measure by an absolute
    bound; `min_cosine` replaces the cosine bound of reduced precisions.
    """

    model: str
    output_dir: Path
    target: str = "host"
    runtimes: tuple[str, ...] = ()
    precision: str | None = None  # None: the target's own
    weights: Path | None = None
    random_weights: bool = False  # of `seed`: for measuring speed where there is no checkpoint
    input_size: tuple[int, ...] | None = None
    num_classes: int | None = None
    options: tuple[tuple[str, object], ...] = ()
    labels: Path | None = None
    output: Literal["logits", "mask"] = "logits"
    preprocessing: str | None = None  # a recipe's name; None: the weights' own
    fit: Literal["stretch", "pad"] | None = None  # None: the recipe's own
    reparameterize: bool = True
    verify: bool = True
    atol: float | None = None
    min_cosine: float | None = None
    seed: int = 0
    opset: int = 18
    calibration_data: str = "scenes"  # or a folder
    calibration_samples: int = 64
    observer: Observer | None = None  # None: the architecture's own
    edit_weights: bool = True  # before static int8, as the architecture's recipe has it
    keep_float: tuple[str, ...] = ()  # patterns of module paths, beside the recipe's
    eval_data: str | None = None  # a folder or scenes; None: what there is, by the deploy line
    eval_samples: int | None = 200
    zero_label: str | None = None
    accept_accuracy: bool = False
    compare_speed: bool = True  # of files that are not fp32, with one that is
    force: bool = False

    @property
    def card(self) -> ModelCard:
        """The model's card; raises `UsageError` on an unknown name."""
        return model_card(self.model)

    @property
    def place(self) -> Target:
        """The target; raises `UsageError` on an unknown name."""
        return target_named(self.target)

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats to write, in the target's order of preference."""
        return narrowed(self.place, self.runtimes)

    @property
    def resolved_precision(self) -> str:
        """The precision asked for, or the target's own; raises `UsageError` on an unknown one."""
        precision = self.precision or self.place.precision
        if precision not in WORDS:
            raise UsageError(
                f"There is no precision {precision!r}; there are {', '.join(WORDS)}.",
                next="--precision fp32",
            )
        return precision


def bundle_name(model: str, size: tuple[int, ...], precision: str) -> str:
    """The directory of one bundle among several: `<model>-<HxW>-<precision>`."""
    return f"{model}-{'x'.join(map(str, size))}-{precision}"
