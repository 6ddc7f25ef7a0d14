"""From a prepared network to its files: each exported, compared, and held to an accuracy gate.

A precision may stand for several (`int8`): they are tried in turn, all formats of a round measured
in one pass over the data, until every format has a file that passes its gate.
"""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgevit.bundle.manifest import Accuracy
from edgevit.deployment.files import Made, make_file, scheme_for
from edgevit.deployment.prepare import Edited, Prepared, with_output
from edgevit.deployment.rounding import with_rounding
from edgevit.errors import CheckFailed
from edgevit.evaluation.gates import gate_of, judge
from edgevit.evaluation.scoring import agreement_name, measure
from edgevit.evaluation.subject import Run, network_run, session_run
from edgevit.quantize.mixtures import choose_mixture
from edgevit.request.precisions import (
    LEAST_AGREEMENT,
    LEAST_SQNR,
    SPREAD,
    candidates,
    near_enough,
)
from edgevit.steps import Report, Step
from edgevit_export.errors import LoweringFailed
from edgevit_export.formats import FORMATS
from edgevit_runtimes.engines import open_session
from edgevit_runtimes.errors import RunFailed

SEARCHED = 64  # samples that mixtures are compared on; the file is held to the whole of the data
MIXED = "mixed"
SIMULATED = "halves simulated in torch"  # of a score, where the file itself was not what ran


@dataclass(slots=True)
class _Waiting:
    """A format that has no file yet: precisions still to try, and why the last were not taken."""

    left: list[str]
    tried: list[str] = field(default_factory=list)


def make_files(prepared: Prepared, edited: Edited, folder: Path, report: Report) -> list[Made]:
    """A file a format, in the spec's order.

    Raises `CheckFailed` where no precision keeps parity and gate; `accept_accuracy` takes the last
    one that was tried in spite of its gate, never in spite of parity.
    """
    spec = prepared.spec
    word = spec.resolved_precision
    waiting = {name: _Waiting(list(candidates(word, name))) for name in spec.formats}
    mixture: tuple[str, ...] | None = None  # the same for all formats
    searched = False
    done: dict[str, Made] = {}
    while waiting:
        if not searched and any(state.left[0] == MIXED for state in waiting.values()):
            mixture, searched = find_mixture(prepared, edited, report), True
        made = {}
        for name, state in waiting.items():
            file = _attempt(prepared, edited, name, state, mixture, folder, report)
            if file is not None:
                made[name] = file
        for name, file in _gated(prepared, made, report).items():
            state = waiting[name]
            why = _missed(file, bool(state.left))
            if why is None or (spec.evaluate.accept_accuracy and not state.left):
                done[name] = file
                del waiting[name]
                _tell(prepared, file, state, report)
                continue
            _give_up(file.artifact.path)
            if not state.left:
                raise CheckFailed(
                    f"{file.artifact.path.name}: {why}.", next=_instead(file.artifact.precision)
                )
            state.tried.append(why)
            report(Step("note", f"{file.artifact.path.name}: {why}; trying {state.left[0]}"))
    return [done[name] for name in spec.formats]


def _missed(file: Made, others: bool) -> str | None:
    """Why a file is not taken, the end of a sentence; None where it is.

    Where no labels tell how good it is and other precisions are left, it must come as near to fp32
    as never trained networks can be held to.
    """
    precision, verdict = file.artifact.precision, file.verdict
    verified = file.verification
    if verdict is not None and not verdict.passed:
        return f"{precision} misses its accuracy gate: {verdict.sentence()}"
    if not others or (verdict is not None and verdict.labeled):
        return None
    unseen = verified.status != "executed"  # by --no-verify, or there is no runtime here
    if unseen or near_enough(precision, verified.sqnr, verified.agreement):
        return None
    if verified.sqnr is None:
        agreement = verified.agreement
        same = "not measured" if agreement is None else f"{agreement:.1%}"
        least = f"{LEAST_AGREEMENT:.0%}"
        return f"{precision} agrees with fp32 on {same} of pixels; {least} are asked without labels"
    bound = LEAST_SQNR[precision] + SPREAD
    return f"{precision} has {verified.sqnr:.1f} dB to fp32; {bound:.0f} are asked without labels"


def _instead(precision: str) -> str:
    if precision == "fp16":
        return "--precision fp32, or --accept-accuracy"
    safer = "w8dyn" if precision != "w8dyn" else "fp32"
    return f"--precision int8 or {safer}, more --calibration-data, or --accept-accuracy"


def _attempt(
    prepared: Prepared,
    edited: Edited,
    name: str,
    state: _Waiting,
    mixture: tuple[str, ...] | None,
    folder: Path,
    report: Report,
) -> Made | None:
    """The file of the next precision; None where it does not compute what it should and others are
    left.
    """
    precision = state.left.pop(0)
    try:
        if precision == MIXED and mixture is None:
            raise CheckFailed(
                "No mixture of float and integer blocks passes the accuracy gate.",
                next="--precision w8dyn, or fp32",
            )
        scheme = scheme_for(prepared.spec, precision, mixture or () if precision == MIXED else ())
        return make_file(prepared, edited, name, scheme, folder, report)
    except (CheckFailed, LoweringFailed, RunFailed) as error:
        if not state.left:
            if isinstance(error, CheckFailed):
                raise with_rounding(error, prepared.reference, prepared.cases) from error
            raise
        state.tried.append(error.message.rstrip("."))
        report(Step("note", f"{error.message.rstrip('.')}; trying {state.left[0]}"))
        _give_up(folder / f"model{FORMATS[name].suffix}")
        return None


def find_mixture(prepared: Prepared, edited: Edited, report: Report) -> tuple[str, ...] | None:
    """Patterns of the float blocks of the cheapest mixture that keeps the gate in torch; None where
    none does.
    """
    assert prepared.calibration is not None
    data = None if prepared.gate is None else prepared.gate.first(SEARCHED)

    def keeps(sqnr: float, accuracy: Accuracy | None) -> bool:
        near = near_enough(MIXED, sqnr)
        if accuracy is None:
            return near
        return judge(MIXED, accuracy).passed and (accuracy.labeled or near)

    chosen = choose_mixture(
        prepared.network,
        edited.network,
        prepared.subject,
        prepared.calibration,
        data,
        scheme_for(prepared.spec, MIXED),
        keeps,
        lambda what, done, total: report(
            Step("start", f"search mixtures: {what}, {done} of {total}")
        ),
    )
    if chosen is None:
        return None
    report(
        Step("done", f"mixed: float are {', '.join(chosen.floats)}; {chosen.sqnr:.1f} dB in torch")
    )
    return chosen.patterns


def _gated(prepared: Prepared, made: Mapping[str, Made], report: Report) -> dict[str, Made]:
    """The files with what was measured of them, in one pass over the data."""
    runnable = {n: file for n, file in made.items() if file.verification.status == "executed"}
    if prepared.gate is None or not runnable:
        return dict(made)
    data = prepared.gate

    def progress(what: str, done: int, total: int) -> None:
        report(Step("start", f"measure {what}, {done} of {total} {data.unit}"))

    with ExitStack() as stack:
        runs: dict[str, Run] = {}
        for name, file in runnable.items():
            artifact = file.artifact
            if _simulated(file):
                from edgevit.quantize.halves import half_run

                runs[name] = half_run(with_output(prepared.common, prepared.spec.output))
                continue
            session = stack.enter_context(open_session(artifact.path))
            runs[name] = session_run(session, artifact.inputs, artifact.outputs, artifact.path.name)
        measured = measure(
            prepared.subject,
            data,
            runs,
            network_run(prepared.reference),
            progress=progress,
            calibrated=prepared.calibration_hashes,
        )
    gated = dict(made)
    for name, result in measured.items():
        accuracy = result.accuracy
        if _simulated(made[name]):
            accuracy = replace(accuracy, data=f"{accuracy.data}, {SIMULATED}")
        verdict = judge(made[name].artifact.precision, accuracy)
        gated[name] = replace(made[name], accuracy=(accuracy,), verdict=verdict)
    return gated


def _simulated(file: Made) -> bool:
    """Whether a file's accuracy is that of halves in torch: this machine computes it in float32."""
    return file.artifact.precision == "fp16" and file.verification.floats == "float32"


def _tell(prepared: Prepared, file: Made, state: _Waiting, report: Report) -> None:
    name, precision, verdict = file.artifact.path.name, file.artifact.precision, file.verdict
    if verdict is not None:
        kept = (
            "passes its gate"
            if verdict.passed
            else "MISSES its gate, accepted by --accept-accuracy"
        )
        kept = "measured" if verdict.bound is None else kept
        report(Step("done", f"{name} ({precision}) {kept}: {verdict.sentence()}"))
    elif gate_of(precision, agreement_name(prepared.subject)) is not None:
        why = file.verification.reason or "there is no data for it"
        report(Step("note", f"{name} ({precision}): accuracy not measured, {why}"))
    if state.tried:
        report(Step("note", f"{name} is {precision}; before: {'; '.join(state.tried)}"))


def _give_up(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
