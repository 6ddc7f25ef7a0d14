"""deploy: the order of everything, from a DeploySpec to a sealed bundle."""

import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from edgevit import __version__
from edgevit.bundle import MANIFEST, Bundle, open_bundle
from edgevit.classic import with_classic
from edgevit.create import PartlyUntrained, checked_size, load_network
from edgevit.errors import CheckFailed, CheckpointError, UsageError
from edgevit.golden import golden_picture
from edgevit.labels import labels_of
from edgevit.manifest import FileEntry, Manifest, Member, PassEntry, Weights, dump
from edgevit.models.zoo import MODELS
from edgevit.parity import (
    FP32_DIFFERENCE,
    Array,
    Bounds,
    Case,
    Verification,
    check_parity,
    difference,
)
from edgevit.sealing import check_destination, sealed
from edgevit.spec import DeploySpec
from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.recipes import misfit, preprocessing_of
from edgevit.usage_notes import bundle_readme
from edgevit.weights import demo_weights
from edgevit_export.artifact import Artifact, content_sha256
from edgevit_export.errors import Unsupported
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.names import Names
from edgevit_export.scheme import OPSETS, Scheme

if TYPE_CHECKING:
    from edgevit.models.layers import Network

SIDES = (64, 2048)  # px a file is written for
RANDOM_CASES = 2


@dataclass(frozen=True, slots=True)
class Step:
    """Something to tell the user: a step starts or ends, or there is a remark."""

    kind: Literal["start", "done", "note"]
    text: str


Report = Callable[[Step], None]


def deploy(spec: DeploySpec, report: Report = lambda _: None) -> Bundle:
    """Load, rewrite, export, compare and seal; returns the sealed bundle.

    Raises the errors of `edgevit.errors` and `edgevit_export.errors`; then nothing is left at
    `spec.output_dir` that was not there before.
    """
    precision = check_spec(spec)
    network, weights, labels = load(spec, report)
    reference = with_output(network, spec.output)
    passes: list[PassEntry] = []
    common = rewrite(network, "common", None, spec, passes, report)
    preprocessing = preprocessing_for(spec, network.recipe)
    cases, photo = golden_cases(reference, spec, preprocessing)
    bounds = _bounds(spec, precision)
    files = []
    with sealed(spec.output_dir, spec.force) as folder:
        for name in spec.formats:
            shaped = rewrite(common, "format", name, spec, passes, report)
            scheme = Scheme(precision, spec.opset)
            artifact = export(with_output(shaped, spec.output), name, scheme, folder, report)
            try:
                found = verify(artifact, cases, bounds, spec, report)
            except CheckFailed as error:
                raise with_rounding(error, reference, cases) from error
            artifact = with_classic(
                artifact, found, cases, bounds, lambda text: report(Step("note", text))
            )
            files.append(_entry(artifact, found))
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
            passes=tuple(passes),
            files=tuple(files),
            members=members,
        )
        (folder / MANIFEST).write_text(dump(manifest), encoding="utf-8")
        report(Step("start", "seal"))
    report(Step("done", f"sealed {spec.output_dir}"))
    return open_bundle(spec.output_dir)


def check_spec(spec: DeploySpec) -> str:
    """Refuse what cannot work before anything is loaded; returns the precision."""
    precision = spec.resolved_precision
    for name in spec.formats:
        entry = FORMATS[name]
        if precision not in entry.precisions:
            raise Unsupported(
                f"{name} files have no precision {precision} yet;"
                f" they have {', '.join(entry.precisions)}.",
                next=f"--precision {entry.precisions[0]}, or --runtime without {name}",
            )
    _check_size(spec)
    if spec.random_weights and spec.weights is not None:
        raise UsageError(
            "--random-weights and --weights exclude each other.", next="leave one of them out"
        )
    preprocessing_for(spec, spec.card.recipe)
    if spec.output == "mask" and spec.card.task != "segmentation":
        raise UsageError(
            f"{spec.model} has no mask: its task is {spec.card.task}.", next="--output logits"
        )
    _bounds(spec, precision)
    if not OPSETS[0] <= spec.opset <= OPSETS[1]:
        raise UsageError(
            f"ONNX opset {spec.opset} is outside {OPSETS[0]} to {OPSETS[1]}.",
            next=f"--opset {OPSETS[0]}",
        )
    if not 0 <= spec.seed < 1 << 32:
        raise UsageError(f"Seed {spec.seed} is outside 0 to {(1 << 32) - 1}.", next="--seed 0")
    check_destination(spec.output_dir, spec.force)
    for name in spec.formats:
        tool_versions(FORMATS[name])
    return precision


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
            next=f"--preprocessing {card.recipe}",
        )
    return found


def _bounds(spec: DeploySpec, precision: str) -> Bounds:
    return Bounds.of(precision, spec.card.task == "segmentation", spec.atol, spec.min_cosine)


def load(spec: DeploySpec, report: Report) -> "tuple[Network, Weights, tuple[str, ...]]":
    """The network with its weights in, where they came from, and the class names."""
    report(Step("start", f"load {spec.model}"))
    if spec.random_weights:
        return _with_random_weights(spec, report)
    demo = None
    path = spec.weights
    if path is None:
        demo = demo_weights(spec.model)
        if demo is None:
            raise UsageError(
                f"edgevit ships no demo weights for {spec.model}; give your own.",
                next=f"edgevit export {spec.model} --weights CHECKPOINT.pth (or --random-weights)",
            )
        path = demo.path
        report(
            Step(
                "note",
                "Using demo weights, trained on drawn scenes alone;"
                " give real ones with --weights CHECKPOINT.pth",
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PartlyUntrained)  # refused below
        loaded = load_network(
            spec.model, path, spec.input_size, spec.num_classes, "task", **dict(spec.options)
        )
    network, checkpoint = loaded.network, loaded.checkpoint
    assert checkpoint is not None
    if network.untrained:
        parts = " and ".join(part.rstrip(".") for part in network.untrained)
        classifier = f"{spec.model.removesuffix('-features')}-cls"
        raise CheckpointError(
            f"{path.name} holds no weights for {parts}, which would stay random.",
            next=f"edgevit export {classifier} --weights {path}"
            if classifier in MODELS
            else "train the network first, and give the file that training wrote",
        )
    note = "demo weights trained on drawn scenes" if demo else f"read as {checkpoint.kind}"
    source = Weights(path.name, checkpoint.sha256, note)
    own = demo is not None and spec.labels is None
    count = getattr(getattr(network, "config", None), "num_classes", 0)
    labels = demo.labels if demo and own else labels_of(spec, count, checkpoint.meta)
    report(Step("done", f"loaded {spec.model} from {path.name}"))
    return network, source, labels


def _with_random_weights(
    spec: DeploySpec, report: Report
) -> "tuple[Network, Weights, tuple[str, ...]]":
    from edgevit.models.seeded import fill_seeded

    network = load_network(
        spec.model, None, spec.input_size, spec.num_classes, "task", **dict(spec.options)
    ).network
    digest = fill_seeded(network, spec.seed)
    note = f"random weights of seed {spec.seed}, never trained: for speed alone"
    report(Step("note", f"Using {note}"))
    count = getattr(getattr(network, "config", None), "num_classes", 0)
    report(Step("done", f"filled {spec.model} with random weights"))
    return network, Weights("random", digest, note), labels_of(spec, count, None)


def with_output(network: "Network", output: str) -> "Network":
    """The network itself, or wrapped so that it returns the label map."""
    from edgevit.models.mask import LabelMap

    return LabelMap(network).eval() if output == "mask" else network


def rewrite(
    network: "Network",
    stage: Literal["common", "format"],
    name: str | None,
    spec: DeploySpec,
    passes: list[PassEntry],
    report: Report,
) -> "Network":
    """Run one stage of the reparameterization line; what it did is appended to `passes`."""
    from edgevit.reparam.line import PassReport, run_line

    if not spec.reparameterize:
        return network

    def note(done: PassReport) -> None:
        passes.append(
            PassEntry(
                done.name,
                stage,
                name,
                done.ops_before,
                done.ops_after,
                float(f"{done.difference:.1e}"),
            )
        )

    report(Step("start", f"reparameterize ({name or 'all formats'})"))
    rewritten = run_line(network, stage, name, spec.seed, note)
    report(Step("done", f"reparameterized ({name or 'all formats'}), proven in float64"))
    return rewritten


def golden_cases(
    reference: "Network", spec: DeploySpec, preprocessing: Preprocessing
) -> tuple[list[Case], Array]:
    """The golden picture and seeded random inputs, with the fp32 network's outputs; and the picture
    itself.
    """
    import torch

    photo, golden = golden_picture(spec.card.task, preprocessing)
    inputs = {"golden": golden}
    generator = np.random.default_rng(spec.seed)
    for index in range(RANDOM_CASES):
        noise = generator.standard_normal(reference.input_shape, dtype=np.float32)
        inputs[f"random {index + 1}"] = noise
    cases = []
    for name, array in inputs.items():
        with torch.no_grad():
            out = reference(torch.from_numpy(array))
        outputs = out if isinstance(out, tuple) else (out,)
        cases.append(Case(name, (array,), tuple(value.numpy() for value in outputs)))
    return cases, photo


def export(network: "Network", name: str, scheme: Scheme, folder: Path, report: Report) -> Artifact:
    """Write one file into `folder`."""
    import torch

    from edgevit_export.lower import lower

    entry = FORMATS[name]
    report(Step("start", f"export {name}"))
    artifact = lower(
        network,
        (torch.zeros(network.input_shape),),
        name,
        scheme,
        folder / f"model{entry.suffix}",
        Names(("image",), network.output_names),
    )
    report(Step("done", f"exported {artifact.path.name}, {artifact.size / 1e6:.2f} MB"))
    return artifact


def verify(
    artifact: Artifact, cases: Sequence[Case], bounds: Bounds, spec: DeploySpec, report: Report
) -> Verification:
    """Reopen one file in its runtime and compare it with the fp32 network."""
    if not spec.verify:
        report(Step("note", f"{artifact.path.name}: not verified, as asked by --no-verify"))
        return Verification("not verified", "skipped by --no-verify")
    report(Step("start", f"verify {artifact.format}"))
    found = check_parity(artifact, cases, bounds)
    if found.status == "executed":
        same = "" if found.agreement is None else f", {found.agreement:.2%} of pixels agree"
        report(
            Step(
                "done",
                f"verified {artifact.path.name}: difference {found.difference:.1e}{same}"
                f" ({found.cases} inputs)",
            )
        )
    else:
        report(Step("note", f"{artifact.path.name}: not verified: {found.reason}"))
    return found


def with_rounding(error: CheckFailed, reference: "Network", cases: Sequence[Case]) -> CheckFailed:
    """The failure, and where float32 itself is to blame, the number that says so.

    A network whose float32 outputs lie far from its float64 ones has no float32 file that could be
    compared: weights that were never trained, or that overflow, do that.
    """
    own = rounding(reference, cases)
    if own <= FP32_DIFFERENCE:
        return error
    return CheckFailed(
        f"{error.message.rstrip('.')}; but the network's own float32 outputs lie {own:.1e} from its"
        " float64 ones, so it is the weights that cannot be compared, not the file alone.",
        next="check the checkpoint (is it trained?), or give --atol with what you accept",
    )


def rounding(network: "Network", cases: Sequence[Case]) -> float:
    """The worst difference between the network in float64 and the cases' float32 outputs."""
    import torch

    wide = deepcopy(network).double()
    worst = 0.0
    for case in cases:
        with torch.no_grad():
            out = wide(*(torch.from_numpy(array).double() for array in case.inputs))
        outputs = out if isinstance(out, tuple) else (out,)
        for exact, own in zip(outputs, case.outputs, strict=True):
            if np.issubdtype(own.dtype, np.integer):
                continue  # labels have no distance
            worst = max(worst, difference(own, exact.numpy()))
    return worst


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
    (folder / "README.md").write_text(bundle_readme(spec, files, preprocessing), encoding="utf-8")
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


def _entry(artifact: Artifact, found: Verification) -> FileEntry:
    return FileEntry(
        path=artifact.path.name,
        format=artifact.format,
        precision=artifact.precision,
        size=artifact.size,
        sha256=artifact.sha256,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        verification=found,
        facts=tuple(sorted(artifact.facts.items())),
        tools=tuple(sorted(artifact.tools.items())),
    )
