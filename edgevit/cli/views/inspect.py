"""The report of an exported file as rows and as plain data."""

from typing import Any

from edgevit_export.artifact import TensorSpec
from edgevit_export.readers.report import FileReport

COLUMNS = ("part", "name", "value")
Row = tuple[str, str, str]  # of `COLUMNS`


def report_facts(report: FileReport) -> dict[str, Any]:
    """The report as plain data, with the keys in a fixed order."""
    return {
        "format": report.format,
        "bytes": report.size,
        "weight_bytes": report.weight_bytes,
        "inputs": [_tensor(spec) for spec in report.inputs],
        "outputs": [_tensor(spec) for spec in report.outputs],
        "ops": dict(report.ops),
        "delegated_subgraphs": report.delegated_subgraphs,
        "left_out": [
            {"op": entry.op, "count": entry.count, "reason": entry.reason}
            for entry in report.left_out
        ],
        "facts": dict(report.facts or {}),
    }


def report_rows(report: FileReport) -> list[Row]:
    """The report as rows of section, name and value, in the order they are to be shown."""
    rows = [
        ("file", "format", report.format),
        ("file", "size", _bytes(report.size)),
        ("file", "weights", _bytes(report.weight_bytes)),
    ]
    rows += [("file", name, str(value)) for name, value in (report.facts or {}).items()]
    rows += [("input", spec.name, _shape(spec)) for spec in report.inputs]
    rows += [("output", spec.name, _shape(spec)) for spec in report.outputs]
    if report.delegated_subgraphs is not None:
        rows.append(("delegate", "subgraphs", str(report.delegated_subgraphs)))
    rows += [("left out", f"{e.count} x {e.op}", e.reason) for e in report.left_out]
    rows += [("operations", op, str(count)) for op, count in report.ops.items()]
    return rows


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "layout": spec.layout,
    }


def _shape(spec: TensorSpec) -> str:
    sizes = " x ".join("?" if size < 0 else str(size) for size in spec.shape)
    return f"{spec.dtype} {sizes or 'scalar'}"


def _bytes(count: int) -> str:
    """A size for people: 12,345,678 bytes are 12.35 MB."""
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= scale:
            return f"{count / scale:.2f} {unit}"
    return f"{count} bytes"
