"""Whether a preprocessing suits a task."""

from edgevit.tasks.preprocessing import Preprocessing
from edgevit.tasks.table import TASKS


def misfit(task: str, spec: Preprocessing) -> str | None:
    """Why this preprocessing cannot be this task's, as the end of a sentence; None where it can."""
    entry = TASKS.get(task)
    if entry is None or spec.fit not in entry.fits:
        fits = "none" if entry is None else " or ".join(entry.fits)
        return f"{task} takes fit {fits}, not {spec.fit}"
    if bool(spec.frames) != entry.clips:
        return f"{task} takes {'clips' if entry.clips else 'single pictures'}"
    return None
