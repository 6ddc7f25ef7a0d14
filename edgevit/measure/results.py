"""Reads what `edgevit bench -o` wrote; a file of unknown origin, like every other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgevit.errors import UsageError
from edgevit_runtimes.result import SCHEMA

MOST_BYTES = 1 << 28
MOST_SAMPLES = 1 << 20


def read_result(path: Path) -> dict[str, Any]:
    """The document, its `rows` and `counted` lists of objects; raises `UsageError`."""
    again = f"edgevit bench BUNDLE -o {path.name}"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"{path} has more than {MOST_BYTES} bytes.")
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}).", next=again) from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is not JSON.", next=again) from None
    if not isinstance(value, dict) or value.get("kind") != "edgevit-bench":
        raise UsageError(f"{path} is no result of `edgevit bench`.", next=again)
    if value.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {value.get('schema')} of results, and {SCHEMA} is read here.",
            next=again,
        )
    for name in ("rows", "counted"):
        rows = value.get(name)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UsageError(f"{path} is no whole result of `edgevit bench`.", next=again)
    return value


def numbers(row: object, name: str, file: str) -> NDArray[np.float64]:
    """A list of positive numbers of a row; raises `UsageError`."""
    values = row.get(name) if isinstance(row, dict) else None
    if not isinstance(values, list) or not 0 < len(values) <= MOST_SAMPLES:
        raise unusable(file)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise unusable(file)
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all() or (array <= 0).any():
        raise unusable(file)
    return array


def unusable(file: str) -> UsageError:
    """A row whose numbers are none."""
    return UsageError(
        f"The result has no usable samples of {file}.", next="edgevit bench BUNDLE -o AGAIN.json"
    )
