"""What `edgevit device setup` made, as rows and as plain data."""

from pathlib import Path

from edgevit_runtimes.setup.tflite import PACKAGES

COLUMNS = ("runtime", "state", "packages", "size", "path")


def setup_facts(name: str, state: str, path: Path, size: int) -> dict[str, object]:
    """Plain data; size in bytes."""
    return {
        "name": name,
        "state": state,
        "path": str(path),
        "packages": dict(PACKAGES),
        "bytes": size,
    }


def setup_row(name: str, state: str, path: Path, size: int) -> tuple[str, ...]:
    """A row of `COLUMNS`."""
    packages = ", ".join(f"{package} {version}" for package, version in PACKAGES)
    return (name, state, packages, f"{size / 1e6:.0f} MB", str(path))
