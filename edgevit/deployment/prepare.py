"""prepare: from a request to the one value that export, sensitivity and fine-tuning start from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgevit.bundle.manifest import PassEntry, Weights
from edgevit.bundle.parity import Case
from edgevit.data.natural import natural_input
from edgevit.deployment.golden import golden_picture
from edgevit.deployment.load import load
from edgevit.difference import Array
from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.data.drawn import DRAWN, drawn_pictures, drawn_scenes
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.gates import GATES
from edgevit.networks.zoo import system_of
from edgevit.quantize.calibration import Calibration, calibration
from edgevit.request.check import preprocessing_for
from edgevit.request.precisions import candidates
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.task import Subject
from edgevit_export.halves import HALVES

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

RANDOM_CASES = 2
NATURAL_CASES = 4  # of quantized files, whose worst is the SQNR of the manifest
FEWEST_REST = 50  # pictures of a calibration folder that were not used, to measure agreement on
FLOATS = ("fp32", "fp16")
EDITED_ON = 16  # samples; more move no scale of the shipped networks, and each is run many times


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A network that is loaded and rewritten, and all that its files are made and measured with."""

    spec: DeploySpec
    weights: Weights
    network: "Network"  # as it was trained
    reference: "Network"  # the same, with the output asked for
    common: "Network"  # after the rewrites that all formats share
    passes: tuple[PassEntry, ...]  # those rewrites
    subject: Subject  # task, labels and preprocessing
    cases: tuple[Case, ...]  # the golden picture first
    photo: Array  # the golden picture itself
    calibration: Calibration | None  # of precisions that need it
    gate: DataSet | None  # what accuracy is measured on; None: not at all

    @property
    def calibration_hashes(self) -> frozenset[str]:
        """sha256 of the inputs that a calibration saw."""
        return frozenset(self.calibration.hashes if self.calibration else ())


@dataclass(frozen=True, slots=True, eq=False)
class Edited:
    """The network of precisions that want edits: its weights changed so that integers lose less."""

    network: "Network"
    edits: tuple[str, ...]


def prepare(spec: DeploySpec, report: Report, calibrated: bool = False) -> Prepared:
    """Load, calibrate and rewrite what `spec` asks for, which was checked before.

    calibrated: read calibration samples in any precision. Raises the errors of loading, of the data
    and of `run_line`.
    """
    trained = load(spec, report)
    network = trained.network
    preprocessing = preprocessing_for(spec, network.preparation)
    subject = Subject(spec.card.task, trained.labels, preprocessing)
    # Before the rewrites, which take longer than finding out that a picture is broken.
    samples = calibrate(spec, subject, report, calibrated)
    gate = gate_data(spec, subject, samples, report)
    common, passes = rewrite(network, "common", None, spec, report)
    reference = with_output(network, spec.output)
    cases, photo = golden_cases(reference, spec, preprocessing)
    return Prepared(
        spec,
        trained.weights,
        network,
        reference,
        common,
        passes,
        subject,
        cases,
        photo,
        samples,
        gate,
    )


def calibrate(
    spec: DeploySpec, subject: Subject, report: Report, needed: bool = False
) -> Calibration | None:
    """The samples of a precision that needs some, for ranges or for edits of weights; each is read
    once and found good.
    """
    integers = system_of(spec.card).load().integers
    if not (needed or any(map(integers.serves, spec.tried))):
        return None
    samples = calibration(
        spec.quantize.data,
        spec.quantize.samples,
        subject,
        lambda done, total: report(Step("start", f"read calibration samples, {done} of {total}")),
    )
    report(Step("done", f"read {len(samples)} calibration samples: {samples.name}"))
    for remark in samples.remarks:
        report(Step("note", remark))
    return samples


def gate_data(
    spec: DeploySpec, subject: Subject, samples: Calibration | None, report: Report
) -> DataSet | None:
    """What accuracy is measured on, None where it is not.

    Labeled data where it is given, or drawn scenes for networks that know what is drawn; else the
    pictures of the calibration folder that were not used, else scenes, for agreement with fp32.
    """
    evaluate = spec.evaluate
    tried = {(fmt, p) for fmt in spec.formats for p in candidates(spec.resolved_precision, fmt)}
    # Weights in 16 bits lose nothing that parity does not see; arithmetic in 16 bits may.
    gated = any(
        p in GATES and (p != "fp16" or (fmt in HALVES and p in HALVES[fmt].precisions))
        for fmt, p in tried
    )
    if evaluate.data is not None:
        data = open_data(evaluate.data, subject, spec.model, evaluate.zero_label)
        return data.first(evaluate.samples)
    if not gated or not spec.verify.enabled:
        return None
    if spec.source.random:
        report(Step("note", "Random weights: accuracy is not measured"))
        return None
    drawn = DRAWN[subject.task]
    own = spec.source.checkpoint is None
    # Only our own weights were trained on what is drawn, whatever others' labels are.
    if own and drawn.metric is not None and drawn.labels == subject.labels:
        return drawn_scenes(subject, spec.model).first(evaluate.samples)
    rest = None if samples is None else samples.rest
    if rest is not None and len(rest) >= FEWEST_REST:
        return rest.first(evaluate.samples)
    report(
        Step(
            "note",
            "Accuracy: only agreement with fp32 on drawn scenes; give labeled pictures with"
            " --eval-data DIR, or more of them in --calibration-data",
        )
    )
    return drawn_pictures(subject, spec.model).first(evaluate.samples)


def rewrite(
    network: "Network",
    stage: Literal["common", "format"],
    name: str | None,
    spec: DeploySpec,
    report: Report,
    integer: bool = False,
) -> "tuple[Network, tuple[PassEntry, ...]]":
    """Run one stage of the line of passes, for a file with integer activations or floats; returns
    the network rewritten, and what was done.
    """
    from edgevit.networks.line import PassReport, run_line

    if not spec.reparameterize:
        return network, ()
    done: list[PassReport] = []
    report(Step("start", f"reparameterize ({name or 'all formats'})"))
    rewritten = run_line(network, stage, name, spec.seed, done.append, integer)
    report(Step("done", f"reparameterized ({name or 'all formats'}), proven in float64"))
    return rewritten, tuple(
        PassEntry(
            entry.name,
            stage,
            name,
            entry.ops_before,
            entry.ops_after,
            float(f"{entry.difference:.1e}"),
        )
        for entry in done
    )


def with_output(network: "Network", output: str) -> "Network":
    """The network itself, or wrapped so that it returns the label map."""
    from edgevit.networks.parts.label_map import LabelMap

    return LabelMap(network).eval() if output == "mask" else network


def golden_cases(
    reference: "Network", spec: DeploySpec, preprocessing: Preprocessing
) -> tuple[tuple[Case, ...], Array]:
    """The golden picture and seeded random inputs, with the fp32 network's outputs; and the picture
    itself.

    For quantized files the random inputs have the spectrum of pictures.
    """
    import torch

    photo, golden = golden_picture(spec.card.task, preprocessing)
    inputs = {"golden": golden}
    generator = np.random.default_rng(spec.seed)
    shape = reference.input_shape
    if spec.resolved_precision in FLOATS:
        for index in range(RANDOM_CASES):
            inputs[f"random {index + 1}"] = generator.standard_normal(shape, dtype=np.float32)
    else:
        # Noise asks ranges that no picture asks: it would tell of clipping alone.
        for index in range(NATURAL_CASES):
            inputs[f"natural {index + 1}"] = natural_input(shape, spec.seed + index)
    cases = []
    for name, array in inputs.items():
        with torch.no_grad():
            out = reference(torch.from_numpy(array))
        outputs = out if isinstance(out, tuple) else (out,)
        cases.append(Case(name, (array,), tuple(value.numpy() for value in outputs)))
    return tuple(cases), photo


def edit(prepared: Prepared, report: Report) -> Edited:
    """The edited network if one of the possible precisions needs it, else the network itself.

    Raises as `edit_weights` does.
    """
    from edgevit.quantize.edits import EditReport, edit_weights, edits_named

    spec, integers = prepared.spec, system_of(prepared.spec.card).load().integers
    if not any(map(integers.serves, spec.tried)):
        return Edited(prepared.common, ())
    assert prepared.calibration is not None
    edits = edits_named(integers.edits if spec.quantize.edit_weights else ())

    def note(done: EditReport) -> None:
        report(Step("start", f"edit weights: {done.name}, {done.places} places"))

    report(Step("start", "edit weights"))
    samples = prepared.calibration.first(EDITED_ON)
    edited = edit_weights(prepared.common, samples, edits, note, spec.seed)
    names = tuple(entry.name for entry in edits)
    if names:
        report(Step("done", f"edited weights for int8 ({', '.join(names)})"))
    return Edited(edited, names)
