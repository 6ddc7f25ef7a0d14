"""A comparison of two measurements, as rows and as plain data."""

from dataclasses import asdict

from edgevit.measure.compare import Comparison, Line

COLUMNS = (
    "file",
    "threads",
    "of",
    "before",
    "after",
    "ratio",
    "95 % interval",
    "verdict",
    "remark",
)


def comparison_rows(comparison: Comparison) -> list[list[str]]:
    """A row of `COLUMNS` a file and thread count."""
    return [
        [
            line.file,
            str(line.threads),
            line.what,
            *(_value(line, value) for value in (line.a, line.b)),
            f"{line.ratio:.3f}",
            "exact" if line.what == "instructions" else f"{line.low:.3f} to {line.high:.3f}",
            line.verdict,
            line.note,
        ]
        for line in comparison.lines
    ]


def comparison_facts(comparison: Comparison) -> dict[str, object]:
    """Plain data; latencies in milliseconds."""
    return {
        "schema": 1,
        "kind": "edgevit-comparison",
        "tolerance": comparison.tolerance,
        "slower": comparison.slower,
        "files": [asdict(line) for line in comparison.lines],
        "only_in_one": list(comparison.alone),
    }


def _value(line: Line, value: float) -> str:
    return f"{value / 1e6:.2f} M" if line.what == "instructions" else f"{value:.2f} ms"
