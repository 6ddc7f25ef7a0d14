"""The manifest of a bundle: frozen values, written and read as JSON, and nothing in it trusted."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

from edgevit.errors import BundleError
from edgevit.parity import Verification
from edgevit.tasks.segmentation import Preprocessing
from edgevit_export.artifact import TensorSpec

SCHEMA = 1
MAX_BYTES = 4 << 20
MAX_FILES = 64
MAX_LABELS = 65_536


@dataclass(frozen=True, slots=True)
class PassEntry:
    """One rewrite that was applied, with its proof."""

    name: str
    stage: str
    format: str | None
    ops_before: int
    ops_after: int
    difference: float


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the numbers came from."""

    source: str  # file name, never a path
    sha256: str
    note: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One exported file of the bundle."""

    path: str
    format: str
    precision: str
    size: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    verification: Verification
    facts: tuple[tuple[str, str | int], ...] = ()
    tools: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """Any other file of the bundle: labels, golden data, README."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything a bundle says of itself. No time stamps: the same inputs give the same bytes."""

    edgevit: str
    model: str
    task: str
    target: str
    precision: str
    output: str
    input_size: tuple[int, int]
    options: tuple[tuple[str, str], ...]
    weights: Weights
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    passes: tuple[PassEntry, ...]
    files: tuple[FileEntry, ...]
    members: tuple[Member, ...]
    accuracy: str = "not measured"


def dump(manifest: Manifest) -> str:
    """JSON text, keys in a fixed order."""
    content = {"schema": SCHEMA, **asdict(manifest)}
    content["preprocessing"] = manifest.preprocessing.to_json()
    content["options"] = dict(manifest.options)
    for entry in content["files"]:
        entry["facts"] = dict(entry["facts"])
        entry["tools"] = dict(entry["tools"])
        entry["verification"]["runtime"] = dict(entry["verification"]["runtime"])
    return json.dumps(content, indent=1) + "\n"


def parse(text: str) -> Manifest:
    """Read what `dump` wrote; raises `BundleError` on anything else, a newer schema by its number."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise broken("manifest.json is not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
        raise broken("manifest.json has no schema number")
    if content["schema"] > SCHEMA:
        raise BundleError(
            f"The bundle has schema {content['schema']}; this edgevit reads up to {SCHEMA}.",
            next="pip install --upgrade edgevit",
        )
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise broken(f"manifest.json does not fit its schema ({error})") from None


def broken(what: str) -> BundleError:
    """The bundle is not what `edgevit export` wrote."""
    return BundleError(f"The bundle is broken: {what}.", next="export it again")


def _manifest(content: dict[str, Any]) -> Manifest:
    given = {key: value for key, value in content.items() if key != "schema"}
    known = {field.name for field in fields(Manifest)}
    if set(given) != known:
        raise ValueError(f"entries {sorted(set(given) ^ known)[:3]}")
    if len(given["files"]) + len(given["members"]) > MAX_FILES:
        raise ValueError("too many files")
    if len(given["labels"]) > MAX_LABELS:
        raise ValueError("too many labels")
    height, width = given["input_size"]
    return Manifest(
        **{name: _text(given[name]) for name in ("edgevit", "model", "task", "target")},
        **{name: _text(given[name]) for name in ("precision", "output", "accuracy")},
        input_size=(_count(height), _count(width)),
        options=tuple((_text(k), _text(v)) for k, v in given["options"].items()),
        weights=Weights(**{k: _text(v) for k, v in given["weights"].items()}),
        preprocessing=Preprocessing.from_json(given["preprocessing"]),
        labels=tuple(_text(label) for label in given["labels"]),
        passes=tuple(PassEntry(**entry) for entry in given["passes"]),
        files=tuple(_file(entry) for entry in given["files"]),
        members=tuple(_member(entry) for entry in given["members"]),
    )


def _file(entry: Mapping[str, Any]) -> FileEntry:
    verification = dict(entry["verification"])
    verification["runtime"] = tuple(verification["runtime"].items())
    if verification["status"] not in ("executed", "evaluated", "not verified"):
        raise ValueError(f"status {verification['status']!r}")
    return FileEntry(
        path=_inside(entry["path"]),
        format=_text(entry["format"]),
        precision=_text(entry["precision"]),
        size=_count(entry["size"]),
        sha256=_hash(entry["sha256"]),
        inputs=tuple(_spec(spec) for spec in entry["inputs"]),
        outputs=tuple(_spec(spec) for spec in entry["outputs"]),
        verification=Verification(**verification),
        facts=tuple(entry["facts"].items()),
        tools=tuple(entry["tools"].items()),
    )


def _member(entry: Mapping[str, Any]) -> Member:
    return Member(_inside(entry["path"]), _count(entry["size"]), _hash(entry["sha256"]))


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(_count(side) for side in entry["shape"])
    if entry["layout"] not in ("NCHW", "NHWC", "any"):
        raise ValueError(f"layout {entry['layout']!r}")
    return TensorSpec(_text(entry["name"]), shape, _text(entry["dtype"]), entry["layout"])


def _inside(path: object) -> str:
    """A relative path that stays in the bundle; raises `BundleError`."""
    text = _text(path)
    parts = PurePosixPath(text).parts
    if not parts or text.startswith("/") or ".." in parts or "\\" in text or ":" in text:
        raise BundleError(
            f"The bundle names a file outside itself ({text!r}); it is not opened.",
            next="get the bundle again from where it came, and do not trust this copy",
        )
    return text


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r} is no text")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _hash(value: object) -> str:
    text = _text(value)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{text!r} is no sha256")
    return text
