"""A bundle as rows and as plain data, for terminals and scripts."""

from edgevit.bundle import Bundle
from edgevit.parity import Verification


def bundle_summary(bundle: Bundle) -> dict[str, object]:
    """What a script wants to know of a bundle."""
    manifest = bundle.manifest
    return {
        "bundle": str(bundle.path),
        "model": manifest.model,
        "input_size": list(manifest.input_size),
        "precision": manifest.precision,
        "output": manifest.output,
        "weights": {"source": manifest.weights.source, "sha256": manifest.weights.sha256},
        "files": [
            {
                "path": str(bundle.path / file.path),
                "format": file.format,
                "size": file.size,
                "sha256": file.sha256,
                **verification_summary(file.verification),
            }
            for file in manifest.files
        ],
    }


def verification_summary(found: Verification) -> dict[str, object]:
    """One verification as plain data."""
    return {
        "status": found.status,
        "reason": found.reason,
        "difference": found.difference,
        "cosine": found.cosine,
        "mask_agreement": found.agreement,
        "cases": found.cases,
        "runtime": dict(found.runtime),
    }


def file_rows(bundle: Bundle) -> list[list[str]]:
    """A row a file: name, size, state, difference, agreement."""
    return [
        [
            file.path,
            f"{file.size / 1e6:.2f} MB",
            *verification_cells(file.verification),
        ]
        for file in bundle.manifest.files
    ]


def verification_cells(found: Verification) -> list[str]:
    """State, difference and agreement as text."""
    if found.status == "not verified":
        return [f"not verified: {found.reason}", "-", "-"]
    agreement = "-" if found.agreement is None else f"{found.agreement:.3%}"
    return [found.status, f"{found.difference:.1e}", agreement]


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
