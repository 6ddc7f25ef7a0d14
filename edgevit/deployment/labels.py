"""The names of a bundle's classes or keypoints: from a file, the checkpoint or a data set."""

from collections.abc import Mapping
from pathlib import Path

from edgevit.bundle.names import check_names, cleaned
from edgevit.data.names import shipped_names
from edgevit.errors import UsageError
from edgevit.request.spec import DeploySpec
from edgevit.tasks.pose.skeletons import dataset_names

LABEL_BYTES = 4 << 20
# Whose answers are told by name alone; guesses have numbers too (ImageNet has two cranes).
NAMES_APART = ("segmentation", "pose")


def labels_of(spec: DeploySpec, count: int, meta: object) -> tuple[str, ...]:
    """One name a class of the network, or a keypoint; () where it has none.

    A file's lines, else what the checkpoint's `meta` says, else the data set that has `count` of
    them, else numbers. Raises `UsageError` on a file that cannot be read or does not fit.
    """
    if spec.card.num_classes is None:
        if spec.source.labels is not None:
            raise UsageError(
                f"{spec.model} has no classes to name.", next=f"edgevit info {spec.model}"
            )
        return ()
    apart = spec.card.task in NAMES_APART
    if spec.source.labels is not None:
        return _from_file(spec.source.labels, count, apart)
    names = meta.get("CLASSES") if isinstance(meta, Mapping) else None
    if isinstance(names, list | tuple) and len(names) == count:
        usage = "--labels NAMES.txt, one a line"
        # ADE20K's has "bed "; nobody can mend a checkpoint's names in a text editor.
        labels = check_names([cleaned(str(name)) for name in names], "the checkpoint", usage)
        if apart and len(set(labels)) != count:
            raise UsageError(
                "The checkpoint has two classes with the same name.",
                next=usage,
            )
        return labels
    if spec.card.task == "pose":
        dataset = dict(spec.source.options).get("dataset")
        known = dataset_names(None if dataset is None else str(dataset), count)
        return known or tuple(f"keypoint {index}" for index in range(count))
    known = shipped_names(spec.card.task, count)
    return known or tuple(f"class {index}" for index in range(count))


def _from_file(path: Path, count: int, apart: bool) -> tuple[str, ...]:
    usage = "--labels NAMES.txt, one name a line"
    try:
        with path.open("rb") as stream:  # perhaps a pipe, whose size nobody knows before
            held = stream.read(LABEL_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", next=usage) from None
    if len(held) > LABEL_BYTES:
        raise UsageError(f"{path} is too large for a list of class names.", next=usage)
    try:
        text = held.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8.", next=usage) from None
    lines = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(lines) != count:
        raise UsageError(f"{path} holds {len(lines)} names for {count} classes.", next=usage)
    if apart and len(set(lines)) != count:
        twice = next(line for line in lines if lines.count(line) > 1)
        raise UsageError(f"{path} names two classes {twice!r}.", next="give each a name of its own")
    return check_names(lines, str(path), usage)
