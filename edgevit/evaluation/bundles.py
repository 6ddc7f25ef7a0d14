"""eval: every file of a bundle and its fp32 network on one data set, into the manifest."""

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from edgevit.bundle.manifest import FileEntry, dump, with_accuracy, with_accuracy_elsewhere
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.parity import Verification
from edgevit.bundle.sealing import check_writable, uninterrupted, whole_file
from edgevit.bundle.verify import verify_file
from edgevit.errors import CheckFailed, EnvironmentFailed
from edgevit.evaluation.data.samples import DataSet
from edgevit.evaluation.gates import Verdict, judge, require
from edgevit.evaluation.reference import reference_network
from edgevit.evaluation.resume import Resume, key_of, state_path
from edgevit.evaluation.scoring import BATCH, Measured, Note, Progress, measure
from edgevit.evaluation.subject import Run, network_run, session_run
from edgevit.tasks.task import Subject
from edgevit_runtimes.device import Device, check_threads
from edgevit_runtimes.devices import LOCAL, can_run, check_ready, open_on
from edgevit_runtimes.errors import DeviceFailed, MissingRuntime


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How accurate a bundle's files are on one data set."""

    bundle: Path
    data: str
    labeled: bool
    samples: int
    metric: str
    reference: float | None  # the fp32 network's own score, with labels
    unreferenced: str  # why nothing was compared with the fp32 network, a sentence; or ""
    files: Mapping[str, Measured]  # by path
    verdicts: Mapping[str, Verdict]  # by path; none where there is no fp32 network to judge by
    skipped: Mapping[str, str]  # files that cannot run there, and why
    note: str  # how the data's labels were read
    device: Device = LOCAL
    verified: Mapping[str, Verification] = field(default_factory=lambda: MappingProxyType({}))

    def require(self) -> None:
        """Raise `CheckFailed` if a file misses its gate."""
        for path, verdict in self.verdicts.items():
            require(verdict, path)


def evaluate_bundle(
    bundle: Bundle,
    data: DataSet,
    *,
    weights: Path | None = None,
    max_samples: int | None = None,
    formats: Sequence[str] = (),
    batch: int = BATCH,
    threads: int = 1,
    device: Device = LOCAL,
    progress: Progress = lambda *_: None,
    note: Note = lambda _: None,
    resume: bool = True,
) -> Evaluation:
    """Score every file of a bundle that runs on a device, and the fp32 network where its weights
    are here.

    On another device than this machine each file must compute its golden output first.
    data: `open_data(...)`, of which the first `max_samples` are taken. weights: the checkpoint that
    the bundle was made from. batch: inputs that torch runs at once. With `resume`, an evaluation
    that is stopped keeps its counts next to the bundle, and the same call resumes it.
    The bundle is not changed: `record` does that.
    Raises `UsageError`, `PictureError`, `CheckFailed` (a hash, an invalid output), and
    the runtimes' errors where no file runs here.
    """
    check_threads(threads)
    manifest = bundle.manifest
    subject = Subject.of(manifest)
    chosen = data.first(max_samples)
    files = bundle.entries(formats)
    verified: dict[str, Verification] = {}
    if device != LOCAL:
        check_ready(device)
        if not formats:
            files = [file for file in files if can_run(device, Path(file.path))] or files
        for file in files:
            verified[file.path] = verify_file(bundle, file, device=device)
    network, why = reference_network(manifest, weights)
    reference = None if network is None else network_run(network)
    asked = (batch, network is not None, str(device))
    kept = _resume(bundle, chosen, files, asked) if resume else None
    with contextlib.ExitStack() as stack:
        runs, skipped = _open(bundle, files, bool(formats), device, threads, stack)
        measured = measure(
            subject,
            chosen,
            runs,
            reference,
            batch=batch,
            progress=progress,
            note=note,
            resume=kept,
            calibrated=frozenset(manifest.calibration.sha256 if manifest.calibration else ()),
        )
    if kept is not None:
        kept.remove()
    precisions = {file.path: file.precision for file in files}
    verdicts = {
        path: judge(precisions[path], entry.accuracy)
        for path, entry in measured.items()
        if reference is not None
    }
    first = next(iter(measured.values())).accuracy
    return Evaluation(
        bundle=bundle.path,
        data=chosen.name,
        labeled=chosen.labeled,
        samples=first.samples,
        metric=first.metric,
        reference=first.reference,
        unreferenced=why,
        files=measured,
        verdicts=verdicts,
        skipped=skipped,
        note=chosen.note,
        device=device,
        verified=verified,
    )


def record(bundle: Bundle, evaluation: Evaluation) -> Bundle:
    """Write an evaluation into the bundle's manifest, atomically; returns the reopened bundle.

    Raises `CheckFailed` where the manifest was changed since the bundle was opened, in any way but
    by another evaluation of the same files, and `EnvironmentFailed` where it cannot be written.
    """
    check_recordable(bundle)
    now = open_bundle(bundle.path)
    if _hashes(now.manifest.files) != _hashes(bundle.manifest.files):
        raise CheckFailed(
            f"{bundle.path} was exported again in the meantime; these scores do not belong to it.",
            next=f"edgevit eval {shlex.quote(str(bundle.path))}",
        )
    measured = {path: entry.accuracy for path, entry in evaluation.files.items()}
    if evaluation.device == LOCAL:
        manifest = with_accuracy(now.manifest, measured)
    else:
        there = str(evaluation.device), evaluation.verified
        manifest = with_accuracy_elsewhere(now.manifest, measured, *there)
    # Ctrl-C in between would leave a file that does not belong to the bundle.
    with uninterrupted(), whole_file(bundle.path / MANIFEST) as partial:
        partial.write_text(dump(manifest), encoding="utf-8")
    return open_bundle(bundle.path)


def check_recordable(bundle: Bundle) -> None:
    """Raise `EnvironmentFailed` where the manifest cannot be written, before the work."""
    writable = bundle.path.stat().st_mode & 0o222 and os.access(bundle.path, os.W_OK | os.X_OK)
    if not writable:
        raise EnvironmentFailed(
            f"{bundle.path} is read-only, and scores are written into its manifest.",
            next="copy the bundle to a place that can be written to",
        )


def _hashes(files: Sequence[FileEntry]) -> list[tuple[str, str]]:
    return [(file.path, file.sha256) for file in files]


def _resume(
    bundle: Bundle, data: DataSet, files: Sequence[FileEntry], asked: tuple[object, ...]
) -> Resume:
    manifest = bundle.manifest
    key = key_of(
        manifest.model,
        manifest.weights.sha256,
        manifest.labels,
        manifest.preprocessing,
        manifest.calibration,
        _hashes(files),
        (data.identity, data.metric, len(data)),
        asked,
    )
    path = state_path(bundle.path, key)
    check_writable(path.parent)
    return Resume(path, key)


def _open(
    bundle: Bundle,
    files: Sequence[FileEntry],
    required: bool,
    device: Device,
    threads: int,
    stack: contextlib.ExitStack,
) -> tuple[dict[str, Run], dict[str, str]]:
    """A run of each file whose runtime the device has, its hash checked; and why others have none.

    Raises the runtime's error if the file is required, or if no other file is left.
    """
    runs: dict[str, Run] = {}
    skipped: dict[str, str] = {}
    for index, file in enumerate(files):
        path = bundle.checked(file)
        try:
            session = stack.enter_context(open_on(device, path, threads=threads))
        except (DeviceFailed, MissingRuntime) as error:
            if required or (not runs and index == len(files) - 1):
                raise
            skipped[file.path] = error.message.rstrip(".")
            continue
        runs[file.path] = session_run(session, file.inputs, file.outputs, file.path)
    return runs, skipped
