"""The program run as a user runs it, in this process, and everything it left behind."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch  # noqa: F401 - its log handlers keep the stderr they find: not that of one test

import edgevit.deployment.load
import edgevit.deployment.prepare
from edgevit.cli import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command told: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    def refused(self, code: int, pattern: str) -> None:
        """One sentence that matches, one `Next:`, this exit code, and nothing else of note."""
        lines = self.err.splitlines()
        errors = [line for line in lines if line.startswith("Error: ")]
        assert self.code == code, self.err
        assert len(errors) == 1, self.err
        assert re.search(pattern, errors[0]), errors[0]
        assert ". " not in errors[0].removesuffix("."), f"more than one sentence: {errors[0]}"
        assert errors[0].endswith((".", "?")), errors[0]
        assert lines[-1].startswith("Next: "), self.err
        assert len(lines[-1]) > len("Next: "), self.err
        assert lines[-2] == errors[0], self.err
        assert all(line.startswith(("✓ ", "! ")) for line in lines[:-2]), self.err
        assert self.out == ""


def listed(root: Path) -> dict[str, str]:
    """Every file below a directory with its hash, links and directories as such."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "directory"
    return found


@pytest.fixture
def tree() -> Callable[[Path], dict[str, str]]:
    """`listed`."""
    return listed


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `edgevit` with these words."""

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        told = capsys.readouterr()
        assert isinstance(left.value.code, int)
        assert "Traceback" not in told.err
        return Outcome(left.value.code, told.out, told.err)

    return run


@pytest.fixture
def no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a network fails the test: what is asked for must be refused before."""
    for module in (edgevit.deployment.load, edgevit.deployment.prepare):
        monkeypatch.setattr(module, "load", lambda *_: pytest.fail("a network was loaded"))


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewriting or exporting fails the test."""
    import edgevit.networks.line
    import edgevit_export.lower

    monkeypatch.setattr(edgevit.networks.line, "run_line", lambda *_: pytest.fail("rewrote"))
    monkeypatch.setattr(edgevit_export.lower, "lower", lambda *_: pytest.fail("exported"))
