"""export: the order of everything, from a DeploySpec to a sealed bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from edgevit.bundle.manifest import (
    NO_RANGES,
    CalibrationEntry,
    FileEntry,
    Manifest,
    Member,
    accuracy_of,
    dump,
)
from edgevit.bundle.opened import MANIFEST, Bundle, open_bundle
from edgevit.bundle.readme import bundle_readme
from edgevit.bundle.sealing import sealed
from edgevit.deployment.files import Made, scheme_for
from edgevit.deployment.prepare import Edited, Prepared, edit, prepare
from edgevit.deployment.rounds import make_files
from edgevit.deployment.speeds import Speed, measure_speeds
from edgevit.networks.zoo import system_of
from edgevit.request.check import check_export
from edgevit.request.spec import DeploySpec
from edgevit.steps import Report, Step, silent
from edgevit.version import __version__
from edgevit_export.artifact import content_sha256
from edgevit_export.scheme import PRECISIONS


@dataclass(frozen=True, slots=True)
class Exported:
    """A sealed bundle, and the speed of its quantized files relative to fp32 on this machine."""

    bundle: Bundle
    speeds: tuple[Speed, ...]

    def speed(self, file: str) -> Speed | None:
        """The speed of the file with this name, or None."""
        return next((speed for speed in self.speeds if speed.file == file), None)


def deploy(spec: DeploySpec, report: Report = silent) -> Bundle:
    """Load, rewrite, export, compare and seal; returns the sealed bundle. Raises as `export`."""
    return export(spec, report).bundle


def export(spec: DeploySpec, report: Report = silent) -> Exported:
    """The same, with what was measured beside the bundle.

    Raises the errors of `edgevit.errors` and `edgevit_export.errors`; then nothing is left at
    `spec.output_dir` that was not there before.
    """
    check_export(spec)
    prepared = prepare(spec, report)
    return seal(prepared, edit(prepared, report), report)


def seal(prepared: Prepared, edited: Edited, report: Report) -> Exported:
    """Make the files of a prepared network and seal them in a bundle; raises as `export`."""
    spec = prepared.spec
    with sealed(spec.output_dir, spec.force) as folder:
        made = make_files(prepared, edited, folder, report)
        speeds = measure_speeds(prepared, made, report) if spec.evaluate.compare_speed else ()
        files = tuple(_entry(file) for file in made)
        members = write_members(folder, prepared, files)
        manifest = Manifest(
            edgevit=__version__,
            model=spec.model,
            task=spec.card.task,
            target=spec.target,
            precision=spec.resolved_precision,
            output=spec.output,
            input_size=prepared.network.input_size,
            options=tuple((key, str(value)) for key, value in spec.source.options),
            weights=prepared.weights,
            preprocessing=prepared.subject.preprocessing,
            labels=prepared.subject.labels,
            passes=(*prepared.passes, *(entry for file in made for entry in file.passes)),
            files=files,
            members=members,
            accuracy=accuracy_of(files),
            calibration=_calibration_entry(prepared, edited, made),
        )
        (folder / MANIFEST).write_text(dump(manifest), encoding="utf-8")
        report(Step("start", "seal"))
    report(Step("done", f"sealed {spec.output_dir}"))
    return Exported(open_bundle(spec.output_dir), speeds)


def write_members(
    folder: Path, prepared: Prepared, files: Sequence[FileEntry]
) -> tuple[Member, ...]:
    """Write labels, golden data and the README; returns them with their hashes."""
    spec, case, labels = prepared.spec, prepared.cases[0], prepared.subject.labels
    golden = folder / "golden"
    golden.mkdir()
    Image.fromarray(prepared.photo).save(golden / "picture.png")
    np.save(golden / "input.npy", case.inputs[0])
    for port, array in zip(files[0].outputs, case.outputs, strict=True):
        np.save(golden / f"{port.name}.npy", array)
    if labels:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    preprocessing = prepared.subject.preprocessing
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


def _entry(file: Made) -> FileEntry:
    artifact = file.artifact
    return FileEntry(
        path=artifact.path.name,
        format=artifact.format,
        precision=artifact.precision,
        size=artifact.size,
        sha256=artifact.sha256,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        verification=file.verification,
        facts=tuple(sorted(artifact.facts.items())),
        tools=tuple(sorted(artifact.tools.items())),
        accuracy=file.accuracy,
        elsewhere=file.elsewhere,
    )


def _calibration_entry(
    prepared: Prepared, edited: Edited, made: Sequence[Made]
) -> CalibrationEntry | None:
    """What ranges and edits were found on, where a file has either."""
    samples, spec = prepared.calibration, prepared.spec
    serves = system_of(spec.card).load().integers.serves
    served = {file.artifact.precision for file in made if serves(file.artifact.precision)}
    static = any(PRECISIONS[name].activations == "static" for name in served)
    if samples is None or not (static or (served and edited.edits)):
        return None
    observer = scheme_for(spec, "w8a8").observer if static else NO_RANGES
    return CalibrationEntry(samples.name, samples.hashes, observer, edited.edits)
