"""Whether a bundle's task knows the settings of a run, and their bounds."""

import shlex
from dataclasses import fields

from edgevit.bundle.opened import Bundle
from edgevit.errors import UsageError
from edgevit.tasks.pose.task import check_flip_test
from edgevit.tasks.preprocessing import MOST_FRAMES
from edgevit.tasks.segmentation.task import needs_logits
from edgevit.tasks.table import TASKS
from edgevit.tasks.task import USUAL, Settings, Subject


def check_settings(bundle: Bundle, settings: Settings) -> None:
    """Raise `UsageError` on a setting that the bundle's task does not know, or out of bounds."""
    manifest = bundle.manifest
    if manifest.task not in TASKS:
        raise UsageError(
            f"There is no task {manifest.task!r}; there are {', '.join(TASKS)}.",
            next=f"edgevit verify {shlex.quote(str(bundle.path))}",
        )
    for field in fields(Settings):
        same = getattr(settings, field.name) == getattr(USUAL, field.name)
        if not same and field.name not in TASKS[manifest.task].settings:
            raise other_task(field.name, bundle)
    if settings.official_resize and manifest.output == "mask":
        raise needs_logits()
    if settings.flip_test:
        check_flip_test(Subject.of(manifest))
    if settings.top is not None and settings.top < 1:
        raise UsageError(f"--top takes a number of classes from 1, not {settings.top}.")
    if settings.stride is not None and not 0 <= settings.stride <= MOST_FRAMES:
        raise UsageError(f"--stride takes a number from 0 to {MOST_FRAMES}, not {settings.stride}.")
    if settings.threshold is not None and not 0 <= settings.threshold <= 1:
        raise UsageError(f"--threshold takes a score from 0 to 1, not {settings.threshold:g}.")


def other_task(setting: str, bundle: Bundle) -> UsageError:
    """The error for a setting that belongs to other tasks than the bundle's."""
    tasks = [name for name, task in TASKS.items() if setting in task.settings]
    manifest = bundle.manifest
    return UsageError(
        f"--{setting.replace('_', '-')} is for {' and '.join(tasks)}; {manifest.model}'s task is"
        f" {manifest.task}.",
        next=f"edgevit run {shlex.quote(str(bundle.path))} FILE",
    )
