"""verify: every hash of a bundle, then every file run on the golden input, without torch."""

from collections.abc import Callable

from edgevit.bundle.opened import Bundle
from edgevit.bundle.parity import Bounds, Case, Verification, check_parity
from edgevit_export.artifact import Artifact


def verify_bundle(
    bundle: Bundle,
    formats: tuple[str, ...] = (),
    atol: float | None = None,
    min_cosine: float | None = None,
    report: Callable[[str, Verification], None] = lambda *_: None,
    engine: str | None = None,
) -> dict[str, Verification]:
    """Check the bundle's files and run them again on its golden input; returns what was found, by
    path.

    `engine` names the runtime to run them in, and narrows them to those that it opens. Raises
    `BundleError`, `UsageError` and `CheckFailed` as `Bundle.check`, `Bundle.entries` and
    `check_parity` do.
    """
    bundle.check()
    manifest = bundle.manifest
    files = bundle.entries(formats, engine)
    found = {}
    for file in files:
        bounds = Bounds.of(file.precision, manifest.task == "segmentation", atol, min_cosine)
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
        )
        found[file.path] = check_parity(artifact, [case], bounds, engine)
        report(file.path, found[file.path])
    return found
