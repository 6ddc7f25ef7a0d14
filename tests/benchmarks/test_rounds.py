from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.straight import STRAIGHT
from edgevit_export.formats import FORMATS


@pytest.mark.parametrize(
    ("count", "shares"), [(1, [1]), (3, [1, 1, 1]), (5, [1] * 5), (12, [3, 3, 2, 2, 2])]
)
def test_blocks_share_the_rounds(count: int, shares: list[int]) -> None:
    assert rounds.blocks(count) == shares


@pytest.mark.parametrize(
    ("factor", "noise", "verdict"),
    [
        (2.0, (1.0,), "yes"),
        (1.0, (1.0,), "yes"),
        (0.9, (1.0,), "no"),
        (0.97, (0.98, 1.02), "undecided"),
    ],
)
def test_a_bound_is_kept_where_the_whole_interval_keeps_it(
    factor: float, noise: tuple[float, ...], verdict: str
) -> None:
    share = [part for part in noise for _ in range(60 // len(noise))]
    samples = {"straight": [0.01 * factor * part for part in share], "edgevit": [0.01] * 60}
    straight, edgevit, speed, kept = rounds.speed_cells(samples, 0.97)
    assert (straight, edgevit) == (f"{10 * factor:.2f}", "10.00")
    assert float(speed.split()[0]) == factor
    assert kept == verdict


def test_every_format_that_is_measured_exists() -> None:
    assert set(rounds.MEASURED) == set(STRAIGHT) <= set(FORMATS)
    assert set(rounds.tool_versions()) >= {"torch", "onnxruntime", "executorch", "ai-edge-litert"}


def test_the_state_tells_other_sources_and_facts_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ROOT", tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("1")
    (tmp_path / "single.py").write_text("1")
    sources = ("code", "single.py")
    state = rounds.source_state(sources, "fact")
    (tmp_path / "code" / "notes.md").write_text("not code")
    assert rounds.source_state(sources, "fact") == state
    assert rounds.source_state(sources, "another") != state
    (tmp_path / "code" / "a.py").write_text("2")
    changed = rounds.source_state(sources, "fact")
    (tmp_path / "single.py").write_text("2")
    assert len({state, changed, rounds.source_state(sources, "fact")}) == 3


def test_a_folder_without_git_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert rounds.commit() is None
    assert not rounds.changed()
