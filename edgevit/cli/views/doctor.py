"""The findings of `edgevit doctor`, as rows and as plain data."""

from collections.abc import Iterable
from dataclasses import asdict

from edgevit.cli.findings import Finding

COLUMNS = ("part", "state", "detail", "fix")


def finding_rows(findings: Iterable[Finding]) -> list[list[str]]:
    """A row of `COLUMNS` a finding."""
    return [[f.name, f.state, f.detail, f.fix or ""] for f in findings]


def doctor_facts(findings: Iterable[Finding]) -> dict[str, object]:
    """The findings as plain data."""
    return {"schema": 1, "findings": [asdict(finding) for finding in findings]}
