"""What `edgevit run` wrote, as rows."""

from collections.abc import Sequence

from edgevit.prediction.run import Written

COLUMNS = ("picture", "what it shows")


def result_rows(written: Sequence[Written]) -> list[list[str]]:
    """A row of `COLUMNS` a photo or video: its first drawing, and its headline."""
    return [[str(next(iter(item.drawings.values()))), item.headline] for item in written]
