"""TASK_FITS: how the pictures of a task may meet its network's size."""

from collections.abc import Mapping
from types import MappingProxyType

from edgevit.tasks.preprocessing import Fit, Preprocessing

TASK_FITS: Mapping[str, tuple[Fit, ...]] = MappingProxyType(
    {
        "classification": ("stretch", "pad", "crop"),
        "video": ("stretch", "pad", "crop"),
        "segmentation": ("stretch", "pad"),  # a mask must come back to all of the photo
        "features": ("stretch", "pad", "crop"),
        "pose": ("box",),
    }
)


def misfit(task: str, spec: Preprocessing) -> str | None:
    """Why this preprocessing cannot be this task's, as the end of a sentence; None where it can."""
    fits = TASK_FITS.get(task, ())
    if spec.fit not in fits:
        return f"{task} takes fit {' or '.join(fits) or 'none'}, not {spec.fit}"
    if bool(spec.frames) != (task == "video"):
        return f"{task} takes {'clips' if task == 'video' else 'single pictures'}"
    return None
