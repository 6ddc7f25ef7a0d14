"""The manifest of a bundle: frozen values, written and read as JSON, and nothing in it trusted."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import PurePosixPath
from typing import Any

from edgevit.bundle.parity import HALF, Verification
from edgevit.errors import BundleError, CheckFailed
from edgevit.tasks.fits import misfit
from edgevit.tasks.preprocessing import Preprocessing
from edgevit_export.artifact import TensorSpec
from edgevit_export.formats import FORMATS
from edgevit_export.halves import HALVES

SCHEMA = 1
MAX_BYTES = 4 << 20
MAX_FILES = 64
MAX_LABELS = 65_536
MAX_RANK = 8
MAX_PATH = 200  # characters; file systems end at 255 bytes a name
MAX_SAMPLES = 512  # of a calibration
MAX_ACCURACY = 32  # measurements of one file
MAX_DEVICES = 16
MAX_WORDS = 300  # characters of the name of a metric or a data set
NO_RANGES = "none"  # the observer of files whose scales are found at run time
NOT_MEASURED, AGREEMENT_ONLY, MEASURED = "not measured", "agreement only", "measured"


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
class Accuracy:
    """How good one file's answers are on some data."""

    metric: str  # top-1, mIoU, PCK, AP; without labels an agreement with the fp32 network
    value: float
    reference: float | None  # the fp32 network's on the same data; None: not known, or no labels
    samples: int  # pictures, clips or scenes
    data: str  # drawn scenes by their seeds, or a folder's name and the start of its hash
    labeled: bool


@dataclass(frozen=True, slots=True)
class CalibrationEntry:
    """What ranges of static int8 files were read from, and what weights were edited by."""

    data: str  # drawn scenes, or a folder's name and the start of its hash
    sha256: tuple[str, ...]  # of each input as the network got it, in order
    observer: str  # how ranges were read from them; NO_RANGES where no file has any
    edits: tuple[str, ...]  # of the weights before that, in their order


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known of a file on another device than the one that exported it."""

    device: str  # as `--device` takes it
    verification: Verification
    accuracy: tuple[Accuracy, ...] = ()


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
    accuracy: tuple[Accuracy, ...] = ()
    elsewhere: tuple[Elsewhere, ...] = ()


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
    input_size: tuple[int, ...]  # height and width, frames before them for video
    options: tuple[tuple[str, str], ...]
    weights: Weights
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    passes: tuple[PassEntry, ...]
    files: tuple[FileEntry, ...]
    members: tuple[Member, ...]
    accuracy: str = NOT_MEASURED
    calibration: CalibrationEntry | None = None


def accuracy_of(files: Sequence[FileEntry]) -> str:
    """The manifest's own word for what is known of its files: measured where any was scored against
    labels.
    """
    entries = [entry for file in files for entry in file.accuracy]
    if not entries:
        return NOT_MEASURED
    return MEASURED if any(entry.labeled for entry in entries) else AGREEMENT_ONLY


def with_accuracy(manifest: Manifest, measured: Mapping[str, Accuracy]) -> Manifest:
    """The manifest with a measurement of each of these files, by path.

    It takes the place of an earlier one of the same metric and data, and is the last otherwise.
    Raises `BundleError` where a file has too many.
    """
    files = [
        replace(file, accuracy=_with(file.accuracy, measured[file.path], file.path))
        if file.path in measured
        else file
        for file in manifest.files
    ]
    return replace(manifest, files=tuple(files), accuracy=accuracy_of(files))


def with_accuracy_elsewhere(
    manifest: Manifest,
    measured: Mapping[str, Accuracy],
    device: str,
    verified: Mapping[str, Verification],
) -> Manifest:
    """The same of files that ran on another device, where each was verified first."""
    files = []
    for file in manifest.files:
        if file.path not in measured:
            files.append(file)
            continue
        known = next((entry for entry in file.elsewhere if entry.device == device), None)
        found = known or Elsewhere(device, verified[file.path])
        new = replace(found, accuracy=_with(found.accuracy, measured[file.path], file.path))
        others = [entry for entry in file.elsewhere if entry.device != device]
        if len(others) >= MAX_DEVICES:
            raise BundleError(
                f"The manifest already has {MAX_DEVICES} devices that {file.path} ran on.",
                next="export the bundle again",
            )
        files.append(replace(file, elsewhere=(*others, new)))
    return replace(manifest, files=tuple(files))


def _with(known: Sequence[Accuracy], new: Accuracy, path: str) -> tuple[Accuracy, ...]:
    kept = [e for e in known if (e.metric, e.data) != (new.metric, new.data)]
    if len(kept) >= MAX_ACCURACY:
        raise BundleError(
            f"The manifest already has {MAX_ACCURACY} measurements of {path}.",
            next="export the bundle again",
        )
    return (*kept, new)


def dump(manifest: Manifest) -> str:
    """JSON text, keys in a fixed order, the last of them its own hash."""
    content = {"schema": SCHEMA, **asdict(manifest)}
    content["preprocessing"] = manifest.preprocessing.to_json()
    content["options"] = dict(manifest.options)
    for entry in content["files"]:
        entry["facts"] = dict(entry["facts"])
        entry["tools"] = dict(entry["tools"])
        for holder in (entry, *entry["elsewhere"]):
            verification = holder["verification"]
            verification["runtime"] = dict(verification["runtime"])
            if not verification["floats"]:  # nor those of before floats were halves anywhere
                del verification["floats"]
        for other in entry["elsewhere"]:
            if not other["accuracy"]:  # of before it was measured there
                del other["accuracy"]
        if not entry["elsewhere"]:  # manifests of before there were devices have no such entry
            del entry["elsewhere"]
    return _with_seal(content)


def parse(text: str) -> Manifest:
    """Read exactly what `dump` wrote.

    Raises `BundleError` on anything else, a newer schema by its number, and `CheckFailed` where it
    was changed since: the seal is no signature, it tells damage and edits by hand.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise broken("manifest.json is not JSON") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or isinstance(schema, bool) or "edgevit" not in content:
        raise broken("manifest.json is not the manifest of a bundle")
    if schema > SCHEMA:
        raise BundleError(
            f"The bundle has schema {schema}; this edgevit reads up to {SCHEMA}.",
            next="pip install --upgrade edgevit",
        )
    seal = content.pop("seal", None)
    try:
        manifest = _manifest(content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise broken(f"manifest.json does not fit its schema ({str(error)[:200]})") from None
    if seal is None or text != _with_seal(content):
        raise CheckFailed(
            "manifest.json is not the file that was sealed: its hash differs.",
            next="export it again, or copy it again from its source",
        )
    return manifest


def _with_seal(content: Mapping[str, Any]) -> str:
    """The text of a manifest, which ends with the hash of all before."""
    body = json.dumps(content, indent=1)
    return json.dumps({**content, "seal": _sha256(body)}, indent=1) + "\n"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def broken(what: str) -> BundleError:
    """The bundle is not what `edgevit export` wrote."""
    return BundleError(f"The bundle is broken: {what}.", next="export it again")


def _manifest(content: dict[str, Any]) -> Manifest:
    entries = {key: value for key, value in content.items() if key != "schema"}
    entries.setdefault("calibration", None)  # manifests of before files were quantized
    known = {field.name for field in fields(Manifest)}
    if set(entries) != known:
        raise ValueError(f"entries {sorted(set(entries) ^ known)[:3]}")
    if len(entries["files"]) + len(entries["members"]) > MAX_FILES:
        raise ValueError("too many files")
    if not entries["files"]:
        raise ValueError("no files")
    if len(entries["labels"]) > MAX_LABELS:
        raise ValueError("too many labels")
    input_size = tuple(_count(side) for side in entries["input_size"])
    preprocessing = Preprocessing.from_json(entries["preprocessing"])
    if preprocessing.input_size != input_size:
        shown = "x".join(map(str, input_size[:4]))
        raise ValueError(f"input_size {shown} is not that of the preprocessing")
    unfit = misfit(_text(entries["task"]), preprocessing)
    if unfit is not None:
        raise ValueError(unfit)
    files = tuple(_file(entry) for entry in entries["files"])
    if entries["accuracy"] != accuracy_of(files):
        raise ValueError(f"accuracy {str(entries['accuracy'])[:40]!r} is not that of its files")
    return Manifest(
        **{name: _text(entries[name]) for name in ("edgevit", "model", "task", "target")},
        **{name: _text(entries[name]) for name in ("precision", "output", "accuracy")},
        input_size=input_size,
        options=tuple((_text(k), _text(v)) for k, v in entries["options"].items()),
        weights=Weights(**{k: _text(v) for k, v in entries["weights"].items()}),
        preprocessing=preprocessing,
        labels=tuple(_text(label) for label in entries["labels"]),
        passes=tuple(_pass(entry) for entry in entries["passes"]),
        files=files,
        members=tuple(_member(entry) for entry in entries["members"]),
        calibration=_calibration(entries["calibration"]),
    )


def _calibration(entry: Mapping[str, Any] | None) -> CalibrationEntry | None:
    if entry is None:
        return None
    data, hashes = _text(entry["data"]), entry["sha256"]
    known = {field.name for field in fields(CalibrationEntry)}
    if set(entry) != known or len(data) > MAX_WORDS or len(hashes) > MAX_SAMPLES:
        raise ValueError("calibration is not what was written")
    return CalibrationEntry(
        data,
        tuple(_hash(value) for value in hashes),
        _text(entry["observer"]),
        tuple(_text(name) for name in entry["edits"]),
    )


def _pass(entry: Mapping[str, Any]) -> PassEntry:
    return PassEntry(
        name=_text(entry["name"]),
        stage=_text(entry["stage"]),
        format=None if entry["format"] is None else _text(entry["format"]),
        ops_before=_count(entry["ops_before"]),
        ops_after=_count(entry["ops_after"]),
        difference=_number(entry["difference"]),
    )


def _file(entry: Mapping[str, Any]) -> FileEntry:
    path, name = _inside(entry["path"]), _text(entry["format"])
    if name not in FORMATS or PurePosixPath(path).suffix != FORMATS[name].suffix:
        raise ValueError(f"{path} of format {name!r}")
    if not (entry["inputs"] and entry["outputs"]):
        raise ValueError(f"{path} has no inputs or no outputs")
    return FileEntry(
        path=path,
        format=name,
        precision=_text(entry["precision"]),
        size=_count(entry["size"]),
        sha256=_hash(entry["sha256"]),
        inputs=tuple(_spec(spec) for spec in entry["inputs"]),
        outputs=tuple(_spec(spec) for spec in entry["outputs"]),
        verification=_verification(entry["verification"]),
        facts=tuple((_text(k), _fact(v)) for k, v in entry["facts"].items()),
        tools=tuple((_text(k), _text(v)) for k, v in entry["tools"].items()),
        # Manifests of before accuracy was measured have no such entry.
        accuracy=_accuracies(entry.get("accuracy", [])),
        elsewhere=_elsewhere(entry.get("elsewhere", [])),
    )


def _elsewhere(entries: object) -> tuple[Elsewhere, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_DEVICES:
        raise ValueError(f"elsewhere is no list of up to {MAX_DEVICES} devices")
    found = []
    for entry in entries:
        known = {"device", "verification"}
        if set(entry) - {"accuracy"} != known or len(_text(entry["device"])) > MAX_WORDS:
            raise ValueError("elsewhere is not what was written")
        found.append(
            Elsewhere(
                _text(entry["device"]),
                _verification(entry["verification"]),
                _accuracies(entry.get("accuracy", [])),
            )
        )
    return tuple(found)


def _accuracies(entries: object) -> tuple[Accuracy, ...]:
    if not isinstance(entries, list) or len(entries) > MAX_ACCURACY:
        raise ValueError(f"accuracy is no list of up to {MAX_ACCURACY} measurements")
    known = {field.name for field in fields(Accuracy)}
    accuracies = []
    for entry in entries:
        if set(entry) != known:
            raise ValueError(f"accuracy has entries {sorted(set(entry) ^ known)[:3]}")
        if not isinstance(entry["labeled"], bool):
            raise ValueError(f"labeled {entry['labeled']!r}")
        reference = entry["reference"]
        metric, data = _text(entry["metric"]), _text(entry["data"])
        if max(len(metric), len(data)) > MAX_WORDS:
            raise ValueError("the name of a metric or of data is too long")
        accuracies.append(
            Accuracy(
                metric=metric,
                value=_score(entry["value"]),
                reference=None if reference is None else _score(reference),
                samples=_count(entry["samples"]),
                data=data,
                labeled=entry["labeled"],
            )
        )
    return tuple(accuracies)


def _verification(entry: Mapping[str, Any]) -> Verification:
    if entry["status"] not in ("executed", "evaluated", "not verified"):
        raise ValueError(f"status {entry['status']!r}")
    measured = {
        name: None if entry[name] is None else _number(entry[name])
        for name in ("difference", "absolute", "cosine", "agreement")
    }
    # Manifests of before files were quantized have no such entry.
    measured["sqnr"] = None if entry.get("sqnr") is None else _number(entry["sqnr"])
    return Verification(
        status=entry["status"],
        reason=_text(entry["reason"]),
        cases=_count(entry["cases"]),
        runtime=tuple((_text(k), _text(v)) for k, v in entry["runtime"].items()),
        floats=_floats(entry.get("floats", "")),
        **measured,
    )


def _floats(value: object) -> str:
    if value not in ("", HALF, *(entry.elsewhere for entry in HALVES.values())):
        raise ValueError(f"floats {value!r}")
    return _text(value)


def _member(entry: Mapping[str, Any]) -> Member:
    return Member(_inside(entry["path"]), _count(entry["size"]), _hash(entry["sha256"]))


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(_count(side) for side in entry["shape"])
    if len(shape) > MAX_RANK:
        raise ValueError(f"shape {shape}")
    if entry["layout"] not in ("NCHW", "NHWC", "any"):
        raise ValueError(f"layout {entry['layout']!r}")
    return TensorSpec(_text(entry["name"]), shape, _text(entry["dtype"]), entry["layout"])


def _inside(path: object) -> str:
    """A relative path that stays in the bundle; raises `BundleError`."""
    text = _text(path)
    parts = PurePosixPath(text).parts
    if len(text) > MAX_PATH:
        raise ValueError(f"path {text[:20]!r}... is too long")
    if not parts or text.startswith("/") or ".." in parts or "\\" in text or ":" in text:
        raise BundleError(
            f"The bundle names a file outside itself ({text!r}); it is not opened.",
            next="get the bundle again from its source, and do not trust this copy",
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


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _score(value: object) -> float:
    number = _number(value)
    if not math.isfinite(number) or abs(number) > 1:
        raise ValueError(f"{value!r} is no score")
    return number


def _fact(value: object) -> str | int:
    return value if type(value) is int else _text(value)


def _hash(value: object) -> str:
    text = _text(value)
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{text!r} is no sha256")
    return text
