"""`--data`: drawn scenes by their name, or a folder, whose layout tells what is in it."""

from pathlib import Path

from edgevit.errors import UsageError
from edgevit.evaluation.data.coco import annotation_file, coco_folder
from edgevit.evaluation.data.drawn import drawn_scenes
from edgevit.evaluation.data.folders import class_folders, flat_folder, is_clip
from edgevit.evaluation.data.mask_folders import ZERO_LABELS, ZeroLabel, mask_folders
from edgevit.evaluation.data.samples import DataSet, check_folder, listed
from edgevit.tasks.task import Subject

SCENES = "scenes"


def open_data(
    data: str | Path, subject: Subject, model: str, zero_label: str | None = None
) -> DataSet:
    """The data set that `--data` names, for this network.

    data: `scenes`, or a folder: with a directory a class (classification, video), with `images` and
    `annotations` (segmentation), with COCO's person_keypoints_*.json (pose), or of pictures alone,
    which has no labels. A folder called scenes is given as `./scenes`.
    Raises `UsageError` where there is nothing to score, and on a zero label that means nothing.
    """
    zero = _zero(zero_label, subject, scenes=str(data) == SCENES)
    if str(data) == SCENES:
        return drawn_scenes(subject, model)
    root = Path(data)
    check_folder(root)
    inside = listed(root, root)
    folders = [path for path in inside if path.is_dir()]
    match subject.task:
        case "segmentation" if (root / "images").is_dir() and (root / "annotations").is_dir():
            return mask_folders(root, subject, zero)
        case "classification" if folders:
            return class_folders(root, subject)
        case "video" if folders and not all(is_clip(root, path) for path in folders):
            return class_folders(root, subject)
        case "pose":
            annotations = annotation_file(root)
            if annotations is not None:
                return coco_folder(root, subject, annotations)
    return flat_folder(root, subject)


def _zero(rule: str | None, subject: Subject, scenes: bool) -> ZeroLabel | None:
    if rule is None:
        return None
    for known in ZERO_LABELS:
        if rule == known and subject.task == "segmentation" and not scenes:
            return known
    if rule not in ZERO_LABELS:
        raise UsageError(f"--zero-label takes {' or '.join(ZERO_LABELS)}, not {rule!r}.")
    raise UsageError(
        "--zero-label is for folders of masks; this data has none.",
        next="the same command without --zero-label",
    )
