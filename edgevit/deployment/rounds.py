"""From a rewritten network to its files: each exported, compared, and held to an accuracy gate.

A precision may stand for several recipes (`int8`): they are tried in turn, all formats of a round
measured in one pass over the data, until every format has a file that keeps its gate.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgevit.bundle.classic import with_classic
from edgevit.bundle.manifest import Accuracy, PassEntry
from edgevit.bundle.parity import FP32_DIFFERENCE, Bounds, Case, Verification, check_parity
from edgevit.difference import difference
from edgevit.errors import CheckFailed, UsageError
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.gates import Verdict, gate_of, judge
from edgevit.evaluation.measure import agreement_name, measure
from edgevit.evaluation.subject import Run, Subject, network_run, session_run
from edgevit.networks.zoo import system_of
from edgevit.quantize.calibration import Calibration
from edgevit.quantize.mixtures import choose_mixture
from edgevit.quantize.overflow import LARGEST, beyond_half
from edgevit.request.precisions import (
    LEAST_AGREEMENT,
    LEAST_SQNR,
    SPREAD,
    candidates,
    near_enough,
)
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step
from edgevit_export.artifact import Artifact
from edgevit_export.errors import LoweringFailed
from edgevit_export.formats import FORMATS
from edgevit_export.names import Names
from edgevit_export.scheme import Scheme
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed

if TYPE_CHECKING:
    from edgevit.networks.parts.layers import Network

HALF_PRODUCTS = ("coreml",)  # the other formats' fp16 is of weights alone
EDITED_ON = 16  # samples; more move no scale of the shipped networks, and each is run many times
SEARCHED = 64  # samples that mixtures are compared on; the file is held to the whole of the data


@dataclass(slots=True)
class Findings:
    """What recipes share and is found once, when the first of them asks."""

    edited: "Network | None" = None  # `Job.common` with its weights edited
    edits: tuple[str, ...] = ()
    mixed: tuple[str, ...] | None = None  # patterns of the float blocks of `mixed`
    searched: bool = False  # for them


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """Everything that files are made from."""

    spec: DeploySpec
    network: "Network"  # as it was trained
    reference: "Network"  # the same, with the output asked for
    common: "Network"  # after the rewrites that all formats share
    cases: Sequence[Case]
    subject: Subject
    calibration: Calibration | None  # of precisions that need it
    gate: DataSet | None  # what accuracy is measured on; None: not at all
    report: Report
    findings: Findings = field(default_factory=Findings)


@dataclass(frozen=True, slots=True)
class Made:
    """One file and what is known of it."""

    artifact: Artifact
    found: Verification
    passes: tuple[PassEntry, ...]  # of its format
    accuracy: tuple[Accuracy, ...] = ()
    verdict: Verdict | None = None


@dataclass(slots=True)
class _Waiting:
    """A format that has no file yet: recipes still to try, and why the last ones were not taken."""

    left: list[str]
    tried: list[str] = field(default_factory=list)


def make_files(job: Job, folder: Path) -> list[Made]:
    """A file a format, in the spec's order.

    Raises `CheckFailed` where no recipe keeps parity and gate; `accept_accuracy` takes the last one
    that was tried in spite of its gate, never in spite of parity.
    """
    waiting = {name: _Waiting(list(candidates(_word(job), name))) for name in job.spec.formats}
    done: dict[str, Made] = {}
    while waiting:
        made = {}
        for name, state in waiting.items():
            one = _attempt(job, name, state, folder)
            if one is not None:
                made[name] = one
        made = _gated(job, made)
        for name, one in made.items():
            state = waiting[name]
            why = _missed(one, bool(state.left))
            if why is None or (job.spec.accept_accuracy and not state.left):
                done[name] = one
                del waiting[name]
                _tell(job, one, state)
                continue
            _give_up(one.artifact.path)
            if not state.left:
                raise CheckFailed(
                    f"{one.artifact.path.name}: {why}.", next=_instead(one.artifact.precision)
                )
            state.tried.append(why)
            job.report(Step("note", f"{one.artifact.path.name}: {why}; trying {state.left[0]}"))
    return [done[name] for name in job.spec.formats]


def _missed(one: Made, others: bool) -> str | None:
    """Why a file is not taken, the end of a sentence; None where it is.

    Where no labels tell how good it is and there are other recipes, it must come as near to fp32
    as never trained networks can be held to.
    """
    precision, verdict, found = one.artifact.precision, one.verdict, one.found
    if verdict is not None and not verdict.passed:
        return f"{precision} misses its accuracy gate: {verdict.sentence()}"
    if not others or (verdict is not None and verdict.labeled):
        return None
    unseen = found.status != "executed"  # by --no-verify, or there is no runtime here
    if unseen or near_enough(precision, found.sqnr, found.agreement):
        return None
    if found.sqnr is None:
        same = "not measured" if found.agreement is None else f"{found.agreement:.1%}"
        least = f"{LEAST_AGREEMENT:.0%}"
        return f"{precision} agrees with fp32 on {same} of pixels; {least} are asked without labels"
    asked = LEAST_SQNR[precision] + SPREAD
    return f"{precision} has {found.sqnr:.1f} dB to fp32; {asked:.0f} are asked without labels"


def _word(job: Job) -> str:
    return job.spec.resolved_precision


def _instead(precision: str) -> str:
    safer = "w8dyn" if precision != "w8dyn" else "fp32"
    return f"--precision int8 or {safer}, more --calibration-data, or --accept-accuracy"


def _attempt(job: Job, name: str, state: _Waiting, folder: Path) -> Made | None:
    """The next recipe's file; None where it does not compute what it should and others are left."""
    precision = state.left.pop(0)
    try:
        return _make(job, name, precision, folder)
    except (CheckFailed, LoweringFailed, RunFailed) as error:
        if not state.left:
            if isinstance(error, CheckFailed):
                raise with_rounding(error, job.reference, job.cases) from error
            raise
        state.tried.append(error.message.rstrip("."))
        job.report(Step("note", f"{error.message.rstrip('.')}; trying {state.left[0]}"))
        _give_up(folder / f"model{FORMATS[name].suffix}")
        return None


def _make(job: Job, name: str, precision: str, folder: Path) -> Made:
    spec, report = job.spec, job.report
    passes: list[PassEntry] = []
    scheme = scheme_for(job, precision)
    recipe = system_of(spec.card).load().integers
    source = edited(job) if recipe.serves(precision) else job.common
    shaped = rewrite(source, "format", name, spec, passes, report)
    _check_keep_float(spec.keep_float, name, shaped)
    if precision == "fp16" and name in HALF_PRODUCTS:
        _tell_overflow(job, shaped)
    artifact = export(with_output(shaped, spec.output), name, scheme, folder, job)
    bounds = bounds_for(spec, precision)
    found = verify(artifact, job.cases, bounds, spec, report)
    artifact = with_classic(
        artifact, found, job.cases, bounds, lambda text: report(Step("note", text))
    )
    return Made(artifact, found, tuple(passes))


def _check_keep_float(patterns: Sequence[str], name: str, network: "Network") -> None:
    """Raise `UsageError` on a pattern that names no module of what a file is made from."""
    from edgevit_export.quantization.paths import kept_float

    modules = [path for path, _ in network.named_modules() if path]
    for pattern in patterns:
        if not any(kept_float(path, (pattern,)) for path in modules):
            raise UsageError(
                f"--keep-float {pattern} names no part of the network that {name} files are made"
                " of.",
                next="edgevit quantize MODEL --sensitivity --json, which names the blocks",
            )


def _tell_overflow(job: Job, network: "Network") -> None:
    """A remark where 16-bit floats end below what the network reaches on its cases."""
    found = beyond_half(network, (case.inputs[0] for case in job.cases))
    if found:
        path, value = max(found.items(), key=lambda item: item[1])
        job.report(
            Step(
                "note",
                f"{path} reaches {value:.3g}, and 16-bit floats end at {LARGEST:.0f}: an fp16 file"
                f" overflows there ({len(found)} places in all); --precision fp32 does not",
            )
        )


def edited(job: Job) -> "Network":
    """The network of precisions that want edits: its weights changed so that integers lose less."""
    from edgevit.quantize.edits import EditReport, edit_weights, edits_named

    findings, report = job.findings, job.report
    if findings.edited is not None:
        return findings.edited
    assert job.calibration is not None
    own = system_of(job.spec.card).load().integers.edits
    edits = edits_named(own) if job.spec.edit_weights else ()

    def note(done: EditReport) -> None:
        report(Step("start", f"edit weights: {done.name}, {done.places} places"))

    report(Step("start", "edit weights"))
    samples = job.calibration.first(EDITED_ON)
    findings.edited = edit_weights(job.common, samples, edits, note, job.spec.seed)
    findings.edits = tuple(edit.name for edit in edits)
    if edits:
        report(Step("done", f"edited weights for int8 ({', '.join(findings.edits)})"))
    return findings.edited


def scheme_for(job: Job, precision: str) -> Scheme:
    """How a precision is made of this network: its recipe, and what the user keeps float."""
    spec = job.spec
    recipe = system_of(spec.card).load().integers
    floats = (*recipe.patterns, *spec.keep_float) if recipe.serves(precision) else spec.keep_float
    scheme = Scheme(precision, spec.opset, floats, spec.observer or recipe.observer)
    if precision != "mixed":
        return scheme
    return replace(scheme, floats=(*floats, *_mixed_floats(job, scheme)))


def _mixed_floats(job: Job, scheme: Scheme) -> tuple[str, ...]:
    """The cheapest mixture that keeps the gate in torch; the same for all formats.

    Raises `CheckFailed` where none does.
    """
    if job.findings.mixed is not None:
        return job.findings.mixed
    if job.findings.searched:
        raise _no_mixture()
    assert job.calibration is not None
    data = None if job.gate is None else job.gate.first(SEARCHED)

    def keeps(sqnr: float, accuracy: Accuracy | None) -> bool:
        near = near_enough("mixed", sqnr)
        if accuracy is None:
            return near
        return judge("mixed", accuracy).passed and (accuracy.labeled or near)

    found = choose_mixture(
        job.network,
        edited(job),
        job.subject,
        job.calibration,
        data,
        scheme,
        keeps,
        lambda what, done, total: job.report(
            Step("start", f"search mixtures: {what}, {done} of {total}")
        ),
    )
    job.findings.searched = True
    if found is None:
        raise _no_mixture()
    job.report(
        Step("done", f"mixed: float are {', '.join(found.floats)}; {found.sqnr:.1f} dB in torch")
    )
    job.findings.mixed = found.patterns
    return job.findings.mixed


def _no_mixture() -> CheckFailed:
    """The error of a network that no mixture saves."""
    return CheckFailed(
        "No mixture of float and integer blocks keeps the accuracy gate.",
        next="--precision w8dyn, or fp32",
    )


def _gated(job: Job, made: Mapping[str, Made]) -> dict[str, Made]:
    """The files with what was measured of them, in one pass over the data."""
    runnable = {name: one for name, one in made.items() if one.found.status == "executed"}
    if job.gate is None or not runnable:
        return dict(made)
    data = job.gate

    def progress(what: str, done: int, total: int) -> None:
        job.report(Step("start", f"measure {what}, {done} of {total} {data.unit}"))

    with ExitStack() as stack:
        runs: dict[str, Run] = {}
        for name, one in runnable.items():
            artifact = one.artifact
            session = stack.enter_context(open_session(artifact.path))
            runs[name] = session_run(session, artifact.inputs, artifact.outputs, artifact.path.name)
        measured = measure(
            job.subject,
            data,
            runs,
            network_run(job.reference),
            progress=progress,
            calibrated=frozenset(job.calibration.hashes if job.calibration else ()),
        )
    gated = dict(made)
    for name, result in measured.items():
        verdict = judge(made[name].artifact.precision, result.accuracy)
        gated[name] = replace(made[name], accuracy=(result.accuracy,), verdict=verdict)
    return gated


def _tell(job: Job, one: Made, state: _Waiting) -> None:
    name, verdict = one.artifact.path.name, one.verdict
    if verdict is not None:
        kept = "keeps its gate" if verdict.passed else "MISSES its gate, accepted as asked"
        kept = "measured" if verdict.bound is None else kept
        job.report(Step("done", f"{name} ({one.artifact.precision}) {kept}: {verdict.sentence()}"))
    elif gate_of(one.artifact.precision, agreement_name(job.subject)) is not None:
        why = one.found.reason or "no data says how good it is"
        job.report(Step("note", f"{name} ({one.artifact.precision}): accuracy not measured, {why}"))
    if state.tried:
        job.report(
            Step("note", f"{name} is {one.artifact.precision}; before: {'; '.join(state.tried)}")
        )


def _give_up(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def bounds_for(spec: DeploySpec, precision: str) -> Bounds:
    """What a file of this precision must keep beside its gate; raises `UsageError`."""
    return Bounds.of(precision, spec.card.task == "segmentation", spec.atol, spec.min_cosine)


def with_output(network: "Network", output: str) -> "Network":
    """The network itself, or wrapped so that it returns the label map."""
    from edgevit.networks.parts.label_map import LabelMap

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
    from edgevit.networks.line import PassReport, run_line

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


def export(network: "Network", name: str, scheme: Scheme, folder: Path, job: Job) -> Artifact:
    """Write one file into `folder`."""
    import torch

    from edgevit_export.lower import lower

    entry, report = FORMATS[name], job.report
    report(Step("start", f"export {name} {scheme.precision}"))
    samples = job.calibration if scheme.calibrated else None
    artifact = lower(
        network,
        (torch.zeros(network.input_shape),),
        name,
        scheme,
        folder / f"model{entry.suffix}",
        Names(("image",), network.output_names),
        () if samples is None else ((sample,) for sample in samples),
    )
    size = f"{artifact.size / 1e6:.2f} MB"
    report(Step("done", f"exported {artifact.path.name}, {scheme.precision}, {size}"))
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
        told = [] if found.difference is None else [f"difference {found.difference:.1e}"]
        if found.agreement is not None:
            told.append(f"{found.agreement:.2%} of pixels agree")
        if artifact.precision not in ("fp32", "fp16") and found.sqnr is not None:
            told.append(f"SQNR {found.sqnr:.1f} dB")
        verified = f"verified {artifact.path.name}: {', '.join(told)} ({found.cases} inputs)"
        report(Step("done", verified))
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
