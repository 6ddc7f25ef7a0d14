"""What an exported file holds, as one report."""

import os
import shlex
from pathlib import Path

from edgevit.errors import EnvironmentFailed, UsageError
from edgevit_export.formats import FORMATS, Format, reader
from edgevit_export.readers.report import FileReport

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
            f"{path} cannot be read: permission denied.", next=f"ls -ld {shlex.quote(str(path))}"
        )
    named = next((entry for entry in FORMATS.values() if entry.suffix == path.suffix), None)
    held = _content_format(path)
    if named is None:
        raise _unknown_name(path, held)
    if held is not None and held is not named:
        raise UsageError(
            f"{path} has the suffix of {named.name}, but contains {held.name}.",
            next=_rename(path, held),
        )
    report: FileReport = reader(named).read(path)
    return report


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
            f"{path} contains {held.name}, but its name does not end in {held.suffix}.",
            next=_rename(path, held),
        )
    return UsageError(
        f"{path} is not an exported file: its name must end in one of {suffixes}.",
        next="edgevit inspect --help",
    )


def _rename(path: Path, held: Format) -> str:
    target = path.with_suffix(held.suffix)
    return f"mv -n {shlex.quote(str(path))} {shlex.quote(str(target))}"
