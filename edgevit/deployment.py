"""deploy: the order of everything, from a DeploySpec to a sealed bundle."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from edgevit import __version__
from edgevit.bundle import MANIFEST, Bundle, open_bundle
from edgevit.data import scenes
from edgevit.errors import CheckFailed, CheckpointError, UsageError
from edgevit.manifest import FileEntry, Manifest, Member, PassEntry, Weights, dump
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
from edgevit.tasks.segmentation import Preprocessing, preprocess
from edgevit.usage_notes import bundle_readme
from edgevit.weights import demo_weights
from edgevit_export.artifact import Artifact, content_sha256
from edgevit_export.errors import Unsupported
from edgevit_export.formats import FORMATS, tool_versions
from edgevit_export.names import Names
from edgevit_export.scheme import OPSETS, Scheme

if TYPE_CHECKING:
    from edgevit.models.layers import Network

# ImageNet statistics on 0..255, as every official TopFormer configuration normalizes.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SIDES = (64, 2048)  # px a file is written for
RANDOM_CASES = 2
LABEL_BYTES = 4 << 20
GOLDEN_SEED = scenes.HELD_OUT_SEEDS[0]


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
    cases, photo = golden_cases(reference, spec)
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
            files.append(_entry(artifact, found))
        members = write_members(folder, spec, labels, cases[0], photo, files)
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
            preprocessing=_preprocessing(network, spec),
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
    size = spec.input_size or spec.card.input_size
    if len(size) != 2 or min(size) < SIDES[0] or max(size) > SIDES[1]:
        raise UsageError(
            f"Input size {'x'.join(map(str, size))} is outside {SIDES[0]} to {SIDES[1]}"
            " pixels a side.",
            next=f"--input-size {spec.card.input_size[0]} {spec.card.input_size[1]}",
        )
    if any(side % spec.card.size_multiple for side in size):
        raise UsageError(
            f"{spec.model} takes sides that are multiples of {spec.card.size_multiple} pixels,"
            f" not {size[0]}x{size[1]}.",
            next=f"--input-size {spec.card.input_size[0]} {spec.card.input_size[1]}",
        )
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


def _bounds(spec: DeploySpec, precision: str) -> Bounds:
    return Bounds.of(precision, spec.card.task == "segmentation", spec.atol, spec.min_cosine)


def load(spec: DeploySpec, report: Report) -> "tuple[Network, Weights, tuple[str, ...]]":
    """The network with its weights in, where they came from, and the class names."""
    from edgevit.create import load_network

    report(Step("start", f"load {spec.model}"))
    demo = None
    path = spec.weights
    if path is None:
        demo = demo_weights(spec.model)
        if demo is None:
            raise UsageError(
                f"edgevit ships no demo weights for {spec.model}; give your own.",
                next=f"edgevit export {spec.model} --weights CHECKPOINT.pth",
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
        # Of an ImageNet file, which is refused below.
        warnings.filterwarnings("ignore", message=".* is an ImageNet backbone file")
        loaded = load_network(
            spec.model, path, spec.input_size, spec.num_classes, "task", **dict(spec.options)
        )
    network, checkpoint = loaded.network, loaded.checkpoint
    assert checkpoint is not None
    if network.untrained:
        raise CheckpointError(
            f"{path.name} is an ImageNet backbone file;"
            f" {' and '.join(network.untrained)} would stay random.",
            next=f"edgevit export {spec.model}-cls --weights {path}",
        )
    note = "demo weights trained on drawn scenes" if demo else f"read as {checkpoint.kind}"
    source = Weights(path.name, checkpoint.sha256, note)
    own = demo is not None and spec.labels is None
    labels = demo.labels if demo and own else _labels(spec, network, checkpoint.meta)
    report(Step("done", f"loaded {spec.model} from {path.name}"))
    return network, source, labels


def _labels(spec: DeploySpec, network: "Network", meta: object) -> tuple[str, ...]:
    """Class names: a file's lines, else what the checkpoint says, else numbers."""
    count = getattr(getattr(network, "config", None), "num_classes", 0)
    if spec.card.num_classes is None:
        if spec.labels is not None:
            raise UsageError(
                f"{spec.model} has no classes to name.", next=f"edgevit info {spec.model}"
            )
        return ()
    if spec.labels is not None:
        if spec.labels.is_file() and spec.labels.stat().st_size > LABEL_BYTES:
            raise UsageError(f"{spec.labels} is too large for a list of class names.")
        try:
            text = spec.labels.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UsageError(f"{spec.labels} is no text in UTF-8.") from None
        except OSError as error:
            raise UsageError(f"{spec.labels} cannot be read: {error.strerror}.") from None
        lines = tuple(line.strip() for line in text.splitlines() if line.strip())
        if len(lines) != count:
            raise UsageError(f"{spec.labels} holds {len(lines)} names for {count} classes.")
        if len(set(lines)) != count:
            twice = next(line for line in lines if lines.count(line) > 1)
            raise UsageError(f"{spec.labels} names two classes {twice!r}.")
        return lines
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if isinstance(names, list | tuple) and len(names) == count:
        found = tuple(" ".join(str(name).split()) for name in names)  # ADE20K's has "bed "
        if len(set(found)) != count:
            raise UsageError(
                "The checkpoint names two classes alike.", next="--labels NAMES.txt, one a line"
            )
        return found
    return tuple(f"class {index}" for index in range(count))


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


def golden_cases(reference: "Network", spec: DeploySpec) -> tuple[list[Case], Array]:
    """The golden picture and seeded random inputs, with the fp32 network's outputs; and the picture
    itself.
    """
    import torch

    height, width = reference.input_size
    photo = scenes.scene(GOLDEN_SEED, height, width).image
    inputs = {"golden": preprocess(photo, _preprocessing(reference, spec)).tensor}
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


def _preprocessing(network: "Network", spec: DeploySpec) -> Preprocessing:
    return Preprocessing(network.input_size, MEAN, STD, spec.fit)


def write_members(
    folder: Path,
    spec: DeploySpec,
    labels: tuple[str, ...],
    case: Case,
    photo: Array,
    files: Sequence[FileEntry],
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
    (folder / "README.md").write_text(bundle_readme(spec, files), encoding="utf-8")
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
