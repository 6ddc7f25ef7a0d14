"""Say what an exported file holds, as one report, as JSON or as rows of a table."""

import os
import shlex
from pathlib import Path
from typing import Any

from edgevit.errors import EnvironmentFailed, UsageError
from edgevit_export.artifact import TensorSpec
from edgevit_export.formats import FORMATS, Format, reader
from edgevit_export.readers.report import FileReport

Row = tuple[str, str, str]  # section, name, value

MAGICS = {b"TFL3": "litert", b"ET12": "executorch"}  # at byte 4; flatbuffers name their schema
ONNX_START = 0x08  # the tag of ModelProto.ir_version, which writers put first


def inspect_file(path: Path) -> FileReport:
    """The contents of an .onnx, .pte or .tflite file or an .mlpackage, without running it.

    Raises `UsageError` for a name or content that is none of these, `EnvironmentFailed` where
    reading is not permitted, and the export workshop's `UnreadableFile` and `MissingPackage`.
    """
    if not path.exists():
        raise UsageError(f"There is no file {path}.", next=f"ls {shlex.quote(str(path.parent))}")
    if not os.access(path, os.R_OK):
        raise EnvironmentFailed(
            f"{path} may not be read by this user.", next=f"ls -ld {shlex.quote(str(path))}"
        )
    named = next((entry for entry in FORMATS.values() if entry.suffix == path.suffix), None)
    held = _content_format(path)
    if named is None:
        raise _unknown_name(path, held)
    if held is not None and held is not named:
        raise UsageError(
            f"{path} is named like {named.name}, but holds {held.name}.", next=_rename(path, held)
        )
    report: FileReport = reader(named).read(path)
    return report


def as_json(report: FileReport) -> dict[str, Any]:
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


def as_text(report: FileReport) -> list[Row]:
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


def _content_format(path: Path) -> Format | None:
    """The format that the first bytes tell, or None where they tell none."""
    if path.is_dir():
        return FORMATS["coreml"] if (path / "Manifest.json").is_file() else None
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[4:8] in MAGICS:
        return FORMATS[MAGICS[head[4:8]]]
    return FORMATS["onnx"] if head[:1] == bytes([ONNX_START]) else None


def _unknown_name(path: Path, held: Format | None) -> UsageError:
    suffixes = ", ".join(entry.suffix for entry in FORMATS.values())
    if held is not None:
        return UsageError(
            f"{path} holds {held.name}, but its name does not end in {held.suffix}.",
            next=_rename(path, held),
        )
    return UsageError(
        f"{path} is no exported file: its name ends in none of {suffixes}.",
        next="edgevit inspect --help",
    )


def _rename(path: Path, held: Format) -> str:
    target = path.with_suffix(held.suffix)
    return f"mv -n {shlex.quote(str(path))} {shlex.quote(str(target))}"


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
