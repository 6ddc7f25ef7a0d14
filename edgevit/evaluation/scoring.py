"""The one pass over the data: each sample once, through fp32 and every file, into their tallies."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgevit.bundle.manifest import Accuracy
from edgevit.errors import UsageError
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.metrics.agreement import AGREEMENTS, agreement_of
from edgevit.evaluation.metrics.labeled import tally_of
from edgevit.evaluation.metrics.tally import State, Tally
from edgevit.evaluation.resume import Kept, Resume
from edgevit.evaluation.subject import Answer, Run, answers, inputs_of
from edgevit.tasks.preprocessing import Prepared
from edgevit.tasks.task import Subject

REFERENCE = "fp32 torch"  # the name of the training-time network's tally
BATCH = 8
MOST_AT_ONCE = 1024  # samples that are held in memory together

Progress = Callable[[str, int, int], None]  # what, how many samples, of how many
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """The results for one file."""

    accuracy: Accuracy  # as a manifest has it
    worst: float | None = None  # feature cosine: the lowest of a picture


def measure(
    subject: Subject,
    data: DataSet,
    candidates: Mapping[str, Run],
    reference: Run | None,
    *,
    batch: int = BATCH,
    progress: Progress = lambda *_: None,
    note: Note = lambda _: None,
    resume: Resume | None = None,
    calibrated: Collection[str] = (),
) -> dict[str, Measured]:
    """Score every candidate on all of the data; by name.

    With labels the data's metric is measured of each candidate, and of the reference where there is
    one; without, how far each agrees with the reference. The reference takes `batch` inputs at
    once, a candidate one. Samples are opened `batch` at a time, so memory does not grow with their
    number. With `resume`, the counts of a stopped pass are kept, and the next call resumes it.
    calibrated: sha256 of inputs that a calibration saw, on which agreement would flatter: their
    samples are left out of it.
    Raises `UsageError` without a reference where there are no labels, and where the data holds
    nothing to score; else as opening the samples and running the networks do.
    """
    if reference is None and not data.labeled:
        raise UsageError(
            f"{data.name} has no labels, and there is no fp32 network to compare with.",
            next="--weights CHECKPOINT, the one that the bundle was made from",
        )
    if not 1 <= batch <= MOST_AT_ONCE:
        raise UsageError(f"--batch takes a number from 1 to {MOST_AT_ONCE}, not {batch}.")
    scored = [REFERENCE] if reference is not None and data.labeled else []
    tallies = {name: _tally(subject, data) for name in (*scored, *candidates)}
    kept = _restore(tallies, data, resume, note)
    try:
        while kept.done < len(data):
            stop = min(kept.done + batch, len(data))
            opened = [data.open(index) for index in range(kept.done, stop)]
            pairs = [(sample, inputs_of(subject, sample)) for sample in opened]
            if not data.labeled:
                pairs = [pair for pair in pairs if not _seen(pair[1], calibrated)]
            report = _reporter(progress, kept.done, len(data))
            inputs = [made for _, made in pairs]
            answered = _answers(subject, inputs, candidates, reference, batch, report)
            wanted = answered.get(REFERENCE, [[] for _ in pairs])
            for name, tally in tallies.items():
                for (sample, _), got, want in zip(pairs, answered[name], wanted, strict=True):
                    tally.add(sample, got, want)
            left_out = kept.left_out + len(opened) - len(pairs)
            kept = Kept(stop, _states(tallies), left_out)
            if resume is not None:
                resume.save_sometimes(kept)
        if kept.left_out:
            note(f"Left out {kept.left_out} {data.unit} that were used for calibration.")
        values = {name: _value(tally, data) for name, tally in tallies.items()}
    except UsageError:  # of the data: the same command would not get further
        if resume is not None:
            resume.remove()
        raise
    except BaseException:
        if resume is not None and kept.done:
            resume.save(kept)
            note(
                f"Saved the counts of {kept.done} of {len(data)} {data.unit}; the same"
                " command resumes from there."
            )
        raise
    progress("done", len(data), len(data))
    samples = len(data) - kept.left_out
    metric = data.metric or agreement_name(subject)
    own = values.get(REFERENCE)
    return {
        name: Measured(
            Accuracy(metric, values[name], own, samples, data.name, data.labeled),
            tallies[name].worst(),
        )
        for name in candidates
    }


def agreement_name(subject: Subject) -> str:
    """What agreement is called for this task."""
    return AGREEMENTS[subject.task]


def _tally(subject: Subject, data: DataSet) -> Tally:
    return agreement_of(subject) if data.metric is None else tally_of(data.metric, subject)


def _reporter(progress: Progress, done: int, total: int) -> Callable[[str], None]:
    return lambda what: progress(what, done, total)


def _states(tallies: Mapping[str, Tally]) -> dict[str, State]:
    return {name: tally.state() for name, tally in tallies.items()}


def _seen(inputs: Sequence[Prepared], calibrated: Collection[str]) -> bool:
    """Whether a calibration saw one of these inputs."""
    return bool(calibrated) and any(
        hashlib.sha256(np.ascontiguousarray(prepared.tensor).tobytes()).hexdigest() in calibrated
        for prepared in inputs
    )


def _restore(
    tallies: Mapping[str, Tally], data: DataSet, resume: Resume | None, note: Note
) -> Kept:
    """Go on from what was kept, or from the beginning."""
    fresh = Kept(0, _states(tallies))
    if resume is None:
        return fresh
    kept, why = resume.load()
    if kept is not None:
        try:
            if set(kept.states) != set(tallies) or kept.done > len(data):
                raise ValueError("of other files")
            for name, tally in tallies.items():
                tally.restore(kept.states[name])
        except (ValueError, TypeError, KeyError, OverflowError):
            for name, tally in tallies.items():
                tally.restore(fresh.states[name])
            why = f"{resume.path.name} is damaged; starting again."
        else:
            note(f"Resuming after {kept.done} of {len(data)} {data.unit} ({resume.path.name}).")
            return kept
    if why:
        note(why)
    return fresh


def _answers(
    subject: Subject,
    inputs: Sequence[Sequence[Prepared]],
    candidates: Mapping[str, Run],
    reference: Run | None,
    batch: int,
    report: Callable[[str], None],
) -> dict[str, list[list[Answer]]]:
    """By predictor, the answers to each sample's inputs."""
    flat = [prepared for several in inputs for prepared in several]
    runs = dict(candidates)
    if reference is not None:
        runs = {REFERENCE: reference, **runs}
    by_name = {}
    for name, run in runs.items():
        report(name)
        decoded = iter(answers(subject, run, flat, batch if name == REFERENCE else 1, name))
        by_name[name] = [[next(decoded) for _ in several] for several in inputs]
    return by_name


def _value(tally: Tally, data: DataSet) -> float:
    value = tally.value()
    if math.isnan(value):
        raise UsageError(
            f"{data.name} has nothing to measure: no labeled pixel, keypoint or person"
            f" in {len(data)} {data.unit}.",
            next="more samples, or other data",
        )
    return value
