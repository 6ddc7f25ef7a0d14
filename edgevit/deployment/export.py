"""deploy: the order of everything, from a DeploySpec to a sealed bundle."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgevit.bundle.manifest import (
    NO_RANGES,
    CalibrationEntry,
    FileEntry,
    Manifest,
    Member,
    PassEntry,
    accuracy_of,
    dump,
)
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.parity import Case
from edgevit.bundle.readme import bundle_readme
from edgevit.bundle.sealing import check_destination, sealed
from edgevit.data.natural import natural_input
from edgevit.deployment.golden import golden_picture
from edgevit.deployment.load import load
from edgevit.deployment.rounds import (
    Job,
    Made,
    bounds_for,
    make_files,
    rewrite,
    scheme_for,
    with_output,
)
from edgevit.deployment.speeds import tell_speeds
from edgevit.difference import Array
from edgevit.errors import UsageError
from edgevit.evaluation.data.datasets import open_data
from edgevit.evaluation.data.drawn import DRAWN, drawn_pictures, drawn_scenes
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.gates import GATES
from edgevit.evaluation.subject import Subject
from edgevit.networks.create import checked_size
from edgevit.networks.zoo import preprocessing_of, system_of
from edgevit.quantize.calibration import MOST, Calibration, calibration
from edgevit.request.precisions import CANDIDATES, candidates, why_not
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit.tasks.fits import misfit
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.version import __version__
from edgevit_export.artifact import content_sha256
from edgevit_export.errors import Unsupported
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.scheme import OBSERVERS, OPSETS, PRECISIONS

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

SIDES = (64, 2048)  # px a file is written for
RANDOM_CASES = 2
NATURAL_CASES = 4  # of quantized files, whose worst is the SQNR of the manifest
FEWEST_REST = 50  # pictures of a calibration folder that were not used, to measure agreement on
FLOATS = ("fp32", "fp16")

# The job with other weights, and the words on them for the manifest.
Tune = Callable[[Job], tuple[Job, str]]


def deploy(spec: DeploySpec, report: Report = lambda _: None, tune: Tune | None = None) -> Bundle:
    """Load, rewrite, export, compare and seal; returns the sealed bundle.

    tune: trains the rewritten network before files are made of it (edgevit/finetuning.py).
    Raises the errors of `edgevit.errors` and `edgevit_export.errors`; then nothing is left at
    `spec.output_dir` that was not there before.
    """
    precision = check_spec(spec)
    network, weights, labels = load(spec, report)
    reference = with_output(network, spec.output)
    preprocessing = preprocessing_for(spec, network.preparation)
    subject = Subject(spec.card.task, labels, preprocessing)
    # Before the rewrites, which take longer than finding out that a picture is broken.
    samples = calibrate(spec, subject, report, tune is not None)
    gate = gate_data(spec, subject, samples, report)
    passes: list[PassEntry] = []
    common = rewrite(network, "common", None, spec, passes, report)
    cases, photo = golden_cases(reference, spec, preprocessing)
    job = Job(spec, network, reference, common, cases, subject, samples, gate, report)
    if tune is not None:
        job, how = tune(job)
        weights = replace(weights, note=f"{weights.note}; {how}")
    with sealed(spec.output_dir, spec.force) as folder:
        made = make_files(job, folder)
        if spec.compare_speed:
            tell_speeds(job, made)
        files = [_entry(one) for one in made]
        members = write_members(folder, spec, labels, cases[0], photo, files, preprocessing)
        manifest = Manifest(
            edgevit=__version__,
            model=spec.model,
            task=spec.card.task,
            target=spec.target,
            precision=precision,
            output=spec.output,
            input_size=network.input_size,
            options=tuple((key, str(value)) for key, value in spec.options),
            weights=weights,
            preprocessing=preprocessing,
            labels=labels,
            passes=(*passes, *(entry for one in made for entry in one.passes)),
            files=tuple(files),
            members=members,
            accuracy=accuracy_of(files),
            calibration=_calibration_entry(job, made),
        )
        (folder / MANIFEST).write_text(dump(manifest), encoding="utf-8")
        report(Step("start", "seal"))
    report(Step("done", f"sealed {spec.output_dir}"))
    return open_bundle(spec.output_dir)


def calibrate(
    spec: DeploySpec, subject: Subject, report: Report, needed: bool = False
) -> Calibration | None:
    """The samples of a precision that needs some, for ranges or for edits of weights; each is read
    once and found good.
    """
    tried = {name for fmt in spec.formats for name in candidates(spec.resolved_precision, fmt)}
    recipe = system_of(spec.card).load().integers
    if not (needed or any(map(recipe.serves, tried))):
        return None
    samples = calibration(
        spec.calibration_data,
        spec.calibration_samples,
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
    quantized = any(name in GATES for name in CANDIDATES[spec.resolved_precision])
    if spec.eval_data is not None:
        data = open_data(spec.eval_data, subject, spec.model, spec.zero_label)
        return data.first(spec.eval_samples)
    if not quantized or not spec.verify:
        return None
    if spec.random_weights:
        report(Step("note", "Random weights know nothing: accuracy is not measured"))
        return None
    drawn = DRAWN[subject.task]
    # Only our own weights were trained on what is drawn, whatever others' labels are.
    if spec.weights is None and drawn.metric is not None and drawn.labels == subject.labels:
        return drawn_scenes(subject, spec.model).first(spec.eval_samples)
    rest = None if samples is None else samples.rest
    if rest is not None and len(rest) >= FEWEST_REST:
        return rest.first(spec.eval_samples)
    report(
        Step(
            "note",
            "Accuracy: agreement with fp32 on drawn scenes alone; give labeled pictures with"
            " --eval-data DIR, or more of them in --calibration-data",
        )
    )
    return drawn_pictures(subject, spec.model).first(spec.eval_samples)


def check_spec(spec: DeploySpec) -> str:
    """Refuse what cannot work before anything is loaded; returns the precision."""
    precision = check_request(spec)
    check_destination(spec.output_dir, spec.force)
    for name in spec.formats:
        tool_versions(FORMATS[name])
    return precision


def check_request(spec: DeploySpec) -> str:
    """The same, but for what writing files needs."""
    precision = spec.resolved_precision
    for name in spec.formats:
        if not candidates(precision, name):
            entry = FORMATS[name]
            raise Unsupported(
                f"{name} files have no precision {precision} ({why_not(precision, name)});"
                f" they have {', '.join(entry.precisions)}.",
                next=f"--precision {entry.precisions[0]}, or --runtime without {name}",
            )
    _check_quantization(spec)
    _check_size(spec)
    if spec.random_weights and spec.weights is not None:
        raise UsageError(
            "--random-weights and --weights exclude each other.", next="leave one of them out"
        )
    preprocessing_for(spec, spec.card.preparation)
    if spec.output == "mask" and spec.card.task != "segmentation":
        raise UsageError(
            f"{spec.model} has no mask: its task is {spec.card.task}.", next="--output logits"
        )
    for word in CANDIDATES[precision]:
        bounds_for(spec, word)
    if not OPSETS[0] <= spec.opset <= OPSETS[1]:
        raise UsageError(
            f"ONNX opset {spec.opset} is outside {OPSETS[0]} to {OPSETS[1]}.",
            next=f"--opset {OPSETS[0]}",
        )
    if not 0 <= spec.seed < 1 << 32:
        raise UsageError(f"Seed {spec.seed} is outside 0 to {(1 << 32) - 1}.", next="--seed 0")
    return precision


def _check_quantization(spec: DeploySpec) -> None:
    if not 1 <= spec.calibration_samples <= MOST:
        raise UsageError(
            f"Calibration takes 1 to {MOST} samples, not {spec.calibration_samples}.",
            next="leave --calibration-samples out",
        )
    if spec.eval_samples is not None and spec.eval_samples < 1:
        raise UsageError(f"--eval-samples takes a number from 1, not {spec.eval_samples}.")
    if spec.observer is not None and spec.observer not in OBSERVERS:
        raise UsageError(
            f"--observer takes {', '.join(OBSERVERS)}, not {spec.observer!r}.",
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


def preprocessing_for(spec: DeploySpec, recipe: str) -> Preprocessing:
    """What is asked for, else by the recipe of the weights; raises `UsageError` where it is none of
    the task's.
    """
    card = spec.card
    name = spec.preprocessing or recipe
    found = preprocessing_of(name, spec.input_size or card.input_size, spec.fit)
    why = misfit(card.task, found)
    if why is not None:
        raise UsageError(
            f"Preprocessing {name} does not fit {card.name}: {why}.",
            next=f"--preprocessing {card.preparation}",
        )
    return found


def golden_cases(
    reference: "Network", spec: DeploySpec, preprocessing: Preprocessing
) -> tuple[list[Case], Array]:
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
    return cases, photo


def write_members(
    folder: Path,
    spec: DeploySpec,
    labels: tuple[str, ...],
    case: Case,
    photo: Array,
    files: Sequence[FileEntry],
    preprocessing: Preprocessing,
) -> tuple[Member, ...]:
    """Write labels, golden data and the README; returns them with their hashes."""
    golden = folder / "golden"
    golden.mkdir()
    Image.fromarray(photo).save(golden / "picture.png")
    np.save(golden / "input.npy", case.inputs[0])
    for spec_, array in zip(files[0].outputs, case.outputs, strict=True):
        np.save(golden / f"{spec_.name}.npy", array)
    if labels:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    readme = bundle_readme(spec.model, spec.target, spec.card.task, files, preprocessing)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    written = sorted(
        [
            *golden.iterdir(),
            *(p for p in (folder / "labels.txt", folder / "README.md") if p.exists()),
        ]
    )
    return tuple(
        Member(p.relative_to(folder).as_posix(), p.stat().st_size, content_sha256(p))
        for p in written
    )


def _entry(one: Made) -> FileEntry:
    artifact = one.artifact
    return FileEntry(
        path=artifact.path.name,
        format=artifact.format,
        precision=artifact.precision,
        size=artifact.size,
        sha256=artifact.sha256,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        verification=one.found,
        facts=tuple(sorted(artifact.facts.items())),
        tools=tuple(sorted(artifact.tools.items())),
        accuracy=one.accuracy,
    )


def _calibration_entry(job: Job, made: Sequence[Made]) -> CalibrationEntry | None:
    """What ranges and edits were found on, where a file has either."""
    samples = job.calibration
    recipe = system_of(job.spec.card).load().integers
    served = {one.artifact.precision for one in made if recipe.serves(one.artifact.precision)}
    static = any(PRECISIONS[name].activations == "static" for name in served)
    if samples is None or not (static or (served and job.findings.edits)):
        return None
    observer = scheme_for(job, "w8a8").observer if static else NO_RANGES
    return CalibrationEntry(samples.name, samples.hashes, observer, job.findings.edits)
