"""verify: every hash of a bundle, then every file run on the golden input, without torch."""

from pathlib import Path

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle
from edgevit.bundle.parity import Bounds, Case, Verification, check_parity
from edgevit.errors import CheckFailed
from edgevit_export.artifact import Artifact
from edgevit_runtimes.device import Device
from edgevit_runtimes.devices import LOCAL, can_run

# Of what was sealed: other kernels round otherwise, and do not double the noise.
NOISE_ROOM = 6.0  # dB
AGREEMENT_ROOM = 0.1


def verify_bundle(
    bundle: Bundle,
    formats: tuple[str, ...] = (),
    atol: float | None = None,
    min_cosine: float | None = None,
    engine: str | None = None,
    device: Device = LOCAL,
) -> dict[str, Verification]:
    """Check the bundle's files and run them again on its golden input; returns what was found, by
    path.

    `device` is where they are run. `engine` names the runtime to run them in, and narrows them to
    those that it opens. Raises `BundleError`, `UsageError` and `CheckFailed` as `Bundle.check`,
    `Bundle.entries` and `check_parity` do.
    """
    bundle.check()
    files = bundle.entries(formats, engine)
    if not formats and engine is None:
        files = [file for file in files if can_run(device, Path(file.path))] or files
    return {
        file.path: verify_file(bundle, file, atol, min_cosine, engine, device) for file in files
    }


def verify_file(
    bundle: Bundle,
    file: FileEntry,
    atol: float | None = None,
    min_cosine: float | None = None,
    engine: str | None = None,
    device: Device = LOCAL,
) -> Verification:
    """Check one file's hash and run it on the golden input; raises as `verify_bundle` does."""
    is_map = bundle.manifest.task == "segmentation"
    bounds = Bounds.of(file.precision, is_map, atol, min_cosine)
    outputs = tuple(bundle.golden(spec.name) for spec in file.outputs)
    case = Case("golden", (bundle.golden("input"),), outputs)
    artifact = Artifact(
        format=file.format,
        path=bundle.checked(file),
        precision=file.precision,
        size=file.size,
        sha256=file.sha256,
        inputs=file.inputs,
        outputs=file.outputs,
        tools={},
        facts=dict(file.facts),
    )
    verification = check_parity(artifact, [case], bounds, engine, device)
    if atol is None and min_cosine is None:
        _check_as_sealed(file, verification)
    return verification


def _check_as_sealed(file: FileEntry, verification: Verification) -> None:
    """Raise `CheckFailed` where a file comes less near to fp32 here than where it was sealed.

    The bounds of reduced precisions leave room for any network's noise, the golden input is one
    case alone, and what was sealed is the worst of several.
    """
    if file.precision == "fp32":
        return  # whose bound leaves room for rounding alone
    known = (file.verification, *(entry.verification for entry in file.elsewhere))
    sealed = next((one for one in known if one.floats == verification.floats), None)
    if sealed is None:
        return  # halves, which nobody had computed when it was sealed
    for what, here, there, room in (
        ("SQNR in dB", verification.sqnr, sealed.sqnr, NOISE_ROOM),
        ("share of pixels that agree", verification.agreement, sealed.agreement, AGREEMENT_ROOM),
    ):
        if here is not None and there is not None and here < there - room:
            raise CheckFailed(
                f"{file.path} computes something else here than when it was sealed:"
                f" {what} {here:.3g}, but {there:.3g} when sealed.",
                next="--min-cosine 0.95, which checks only this bound",
            )
