"""A bundle as rows and as plain data, for terminals and scripts."""

from dataclasses import asdict

from edgevit.bundle.manifest import FileEntry
from edgevit.bundle.opened import Bundle
from edgevit.bundle.parity import Verification


def bundle_summary(bundle: Bundle) -> dict[str, object]:
    """The facts of a bundle, for scripts."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "model": manifest.model,
        "input_size": list(manifest.input_size),
        "precision": manifest.precision,
        "output": manifest.output,
        "weights": {"source": manifest.weights.source, "sha256": manifest.weights.sha256},
        "accuracy": manifest.accuracy,
        "files": [
            {
                "path": str(bundle.path / file.path),
                "format": file.format,
                "precision": file.precision,
                "size": file.size,
                "sha256": file.sha256,
                **verification_summary(file.verification),
                "elsewhere": {
                    entry.device: {
                        **verification_summary(entry.verification),
                        "accuracy": [asdict(one) for one in entry.accuracy],
                    }
                    for entry in file.elsewhere
                },
                "accuracy": [asdict(entry) for entry in file.accuracy],
            }
            for file in manifest.files
        ],
    }


def verification_summary(verification: Verification) -> dict[str, object]:
    """One verification as plain data."""
    return {
        "status": verification.status,
        "reason": verification.reason,
        "difference": verification.difference,
        "cosine": verification.cosine,
        "mask_agreement": verification.agreement,
        "sqnr_db": verification.sqnr,
        "cases": verification.cases,
        "runtime": dict(verification.runtime),
        "floats": verification.floats,
    }


VERIFICATION_COLUMNS = ("verified", "difference", "SQNR", "pixels that agree")
FILE_COLUMNS = ("file", "precision", "size", *VERIFICATION_COLUMNS, "accuracy")


def file_rows(bundle: Bundle) -> list[list[str]]:
    """A row of `FILE_COLUMNS` a file."""
    return [
        [
            file.path,
            file.precision,
            f"{file.size / 1e6:.2f} MB",
            *verification_cells(file.verification),
            accuracy_cell(file),
        ]
        for file in bundle.manifest.files
    ]


def verification_cells(verification: Verification) -> list[str]:
    """The cells of `VERIFICATION_COLUMNS`."""
    if verification.status == "not verified":
        return [f"not verified: {verification.reason}", "-", "-", "-"]
    difference = "-" if verification.difference is None else f"{verification.difference:.1e}"
    decibels = "-" if verification.sqnr is None else f"{verification.sqnr:.1f} dB"
    agreement = "-" if verification.agreement is None else f"{verification.agreement:.3%}"
    status = f"{verification.status}{verification.in_floats}"
    return [status, difference, decibels, agreement]


def accuracy_cell(file: FileEntry) -> str:
    """The latest accuracy of a file, with the fp32 network's."""
    if not file.accuracy:
        return "not measured"
    last = file.accuracy[-1]
    beside = "" if last.reference is None else f", fp32 {last.reference:.4f}"
    return f"{last.metric} {last.value:.4f}{beside} ({last.samples} of {last.data})"


def pass_rows(bundle: Bundle) -> list[list[str]]:
    """A row a rewrite."""
    return [
        [
            entry.name,
            entry.stage,
            entry.format or "all",
            f"{entry.ops_before} to {entry.ops_after}",
            f"{entry.difference:.1e}",
        ]
        for entry in bundle.manifest.passes
    ]
