"""DeploySpec: everything that decides what a bundle holds, as one frozen value of small parts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgevit.errors import UsageError
from edgevit.networks.card import ModelCard
from edgevit.networks.zoo import model_card
from edgevit.request.precisions import candidates
from edgevit.request.targets import Target, narrowed, target_named
from edgevit_export.scheme import PRECISIONS, Observer
from edgevit_runtimes.device import Device

WORDS = (*PRECISIONS, "int8")  # int8 is the best int8 precision that passes its gate
OUTPUTS = ("logits", "mask")
FITS = ("stretch", "pad")


@dataclass(frozen=True, slots=True)
class Source:
    """The weights, and what they cannot tell of themselves."""

    checkpoint: Path | None = None  # None: the demo weights
    random: bool = False  # of the spec's seed: for measuring speed where there is no checkpoint
    num_classes: int | None = None
    options: tuple[tuple[str, object], ...] = ()  # of the system
    labels: Path | None = None  # class names, one a line


@dataclass(frozen=True, slots=True)
class Quantize:
    """Options of quantized precisions."""

    data: str = "scenes"  # to calibrate on, or a folder
    samples: int = 64
    observer: Observer | None = None  # None: the system's own
    edit_weights: bool = True  # as the system has it
    keep_float: tuple[str, ...] = ()  # patterns of module paths, beside the system's


@dataclass(frozen=True, slots=True)
class Verify:
    """How files are compared with the fp32 network.

    `atol` replaces the relative measure by an absolute bound; `min_cosine` replaces the cosine
    bound of reduced precisions. `devices` are run on as well, with the same bounds.
    """

    enabled: bool = True
    atol: float | None = None
    min_cosine: float | None = None
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluate:
    """What accuracy and speed of a quantized file are measured on."""

    data: str | None = None  # a folder or scenes; None: what there is
    samples: int | None = 200
    zero_label: str | None = None  # of folders of masks
    accept_accuracy: bool = False  # seal a file that misses its gate
    compare_speed: bool = True  # with an fp32 file


@dataclass(frozen=True, slots=True)
class DeploySpec:
    """One model, one size, one precision, one kind of output: one bundle."""

    model: str
    output_dir: Path
    target: str = "host"
    only_formats: tuple[str, ...] = ()  # of the target's; (): all of them
    precision: str | None = None  # None: the target's own
    source: Source = Source()
    input_size: tuple[int, ...] | None = None
    output: Literal["logits", "mask"] = "logits"
    preprocessing: str | None = None  # a preparation's name; None: the weights' own
    fit: Literal["stretch", "pad"] | None = None  # None: the preparation's own
    reparameterize: bool = True
    seed: int = 0
    opset: int = 18
    quantize: Quantize = Quantize()
    verify: Verify = Verify()
    evaluate: Evaluate = Evaluate()
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
        return narrowed(self.place, self.only_formats)

    @property
    def resolved_precision(self) -> str:
        """The requested precision or the target's own; raises `UsageError` if unknown."""
        precision = self.precision or self.place.precision
        if precision not in WORDS:
            raise UsageError(
                f"There is no precision {precision!r}; there are {', '.join(WORDS)}.",
                next="--precision fp32",
            )
        return precision

    @property
    def tried(self) -> frozenset[str]:
        """Every precision that a file of one of the formats may come to have."""
        word = self.resolved_precision
        return frozenset(name for fmt in self.formats for name in candidates(word, fmt))


def bundle_name(model: str, size: tuple[int, ...], precision: str) -> str:
    """The directory of one bundle among several: `<model>-<HxW>-<precision>`."""
    return f"{model}-{'x'.join(map(str, size))}-{precision}"
