"""Every refusal of a request, before anything is loaded."""

from edgevit.bundle.parity import Bounds
from edgevit.bundle.sealing import check_destination
from edgevit.data.scenes import CALIBRATION_SEEDS
from edgevit.errors import UsageError
from edgevit.networks.create import check_classes, checked_size
from edgevit.networks.zoo import preprocessing_of
from edgevit.request.precisions import CANDIDATES, candidates, why_not
from edgevit.request.spec import DeploySpec
from edgevit.tasks.fits import misfit
from edgevit.tasks.preprocessing import Preprocessing
from edgevit_export.errors import Unsupported
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.scheme import OBSERVERS, OPSETS
from edgevit_runtimes.devices import check_ready

SIDES = (64, 2048)  # px a file is written for


def check_export(spec: DeploySpec) -> None:
    """Refuse as `check_request`, and a place that cannot take a bundle, and a missing exporter."""
    check_request(spec)
    check_destination(spec.output_dir, spec.force)
    for name in spec.formats:
        tool_versions(FORMATS[name])
    for device in spec.verify.devices:
        check_ready(device)


def check_request(spec: DeploySpec) -> None:
    """Refuse what cannot work; raises `UsageError` or `Unsupported`."""
    precision = spec.resolved_precision
    for name in spec.formats:
        if not candidates(precision, name):
            entry = FORMATS[name]
            raise Unsupported(
                f"{name} files have no precision {precision} ({why_not(precision, name)});"
                f" they have {', '.join(entry.precisions)}.",
                next=f"--precision {entry.precisions[0]}, or --format without {name}",
            )
    if spec.verify.devices and not spec.verify.enabled:
        raise UsageError(
            "--verify-on and --no-verify cannot be used together.", next="leave one of them out"
        )
    _check_quantization(spec)
    _check_size(spec)
    if spec.source.random and spec.source.checkpoint is not None:
        raise UsageError(
            "--random-weights and --weights cannot be used together.", next="leave one of them out"
        )
    preprocessing_for(spec, spec.card.preparation)
    if spec.output == "mask" and spec.card.task != "segmentation":
        raise UsageError(
            f"{spec.model} has no mask: its task is {spec.card.task}.", next="--output logits"
        )
    check_classes(spec.card, spec.source.num_classes)
    check_mask(spec, spec.source.num_classes)
    for word in CANDIDATES[precision]:
        bounds_for(spec, word)
    if not OPSETS[0] <= spec.opset <= OPSETS[1]:
        raise UsageError(
            f"ONNX opset {spec.opset} is outside {OPSETS[0]} to {OPSETS[1]}.",
            next=f"--opset {OPSETS[0]}",
        )
    if not 0 <= spec.seed < 1 << 32:
        raise UsageError(f"Seed {spec.seed} is outside 0 to {(1 << 32) - 1}.", next="--seed 0")


def check_mask(spec: DeploySpec, classes: int | None) -> None:
    """Raise `UsageError` on a mask of one class: no file's could be wrong. None: not known yet."""
    if spec.output == "mask" and classes == 1:
        raise UsageError(
            f"A mask of {spec.model} with one class is that class everywhere: there is nothing to"
            " verify.",
            next="--output logits",
        )


def preprocessing_for(spec: DeploySpec, preparation: str) -> Preprocessing:
    """The requested preprocessing, or that of the weights' preparation; raises `UsageError` if it
    does not fit the task.
    """
    card = spec.card
    name = spec.preprocessing or preparation
    preprocessing = preprocessing_of(name, spec.input_size or card.input_size, spec.fit)
    why = misfit(card.task, preprocessing)
    if why is not None:
        raise UsageError(
            f"Preprocessing {name} does not fit {card.name}: {why}.",
            next=f"--preprocessing {card.preparation}",
        )
    return preprocessing


def bounds_for(spec: DeploySpec, precision: str) -> Bounds:
    """The bounds for a file of this precision, in addition to its gate; raises `UsageError`."""
    is_map = spec.card.task == "segmentation"
    return Bounds.of(precision, is_map, spec.verify.atol, spec.verify.min_cosine)


def _check_quantization(spec: DeploySpec) -> None:
    quantize, evaluate = spec.quantize, spec.evaluate
    most = len(CALIBRATION_SEEDS)
    if not 1 <= quantize.samples <= most:
        raise UsageError(
            f"Calibration takes 1 to {most} samples, not {quantize.samples}.",
            next="leave --calibration-samples out",
        )
    if evaluate.samples is not None and evaluate.samples < 1:
        raise UsageError(f"--eval-samples takes a number from 1, not {evaluate.samples}.")
    if quantize.observer is not None and quantize.observer not in OBSERVERS:
        raise UsageError(
            f"--observer takes {', '.join(OBSERVERS)}, not {quantize.observer!r}.",
            next="leave --observer out",
        )


def _check_size(spec: DeploySpec) -> None:
    card = spec.card
    usual = f"--input-size {' '.join(map(str, card.input_size))}"
    size = spec.input_size or card.input_size
    height, width = size[-2:] if len(size) > 1 else (0, 0)
    counted = len(size) == len(card.input_size)
    if counted and not all(SIDES[0] <= side <= SIDES[1] for side in (height, width)):
        raise UsageError(
            f"Input size {height}x{width} is outside {SIDES[0]} to {SIDES[1]} pixels a side.",
            next=usual,
        )
    checked_size(card, size)
    if height % card.size_multiple or width % card.size_multiple:
        raise UsageError(
            f"{spec.model} takes sides that are multiples of {card.size_multiple} pixels,"
            f" not {height}x{width}.",
            next=usual,
        )
