"""What `edgevit device setup` made, as rows and as plain data."""

from collections.abc import Mapping
from pathlib import Path

COLUMNS = ("name", "state", "packages", "size", "path")


def setup_facts(
    name: str, state: str, path: Path, packages: Mapping[str, str], size: int
) -> dict[str, object]:
    """Plain data; size in bytes."""
    return {
        "name": name,
        "state": state,
        "path": str(path),
        "packages": dict(packages),
        "bytes": size,
    }


def setup_row(
    name: str, state: str, path: Path, packages: Mapping[str, str], size: int
) -> tuple[str, ...]:
    """A row of `COLUMNS`."""
    held = ", ".join(f"{package} {version}" for package, version in packages.items())
    return (name, state, held, f"{size / 1e6:.0f} MB", str(path))
